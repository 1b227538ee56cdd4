using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Measurement;

/// <summary>What a device can do at most: multiply-adds from registers, and reading memory once from end to end.</summary>
internal static class RoofProbes
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    /// <summary>Multiply-adds of a thread in one round.</summary>
    public const int MultiplyAddsPerRound = 64;

    /// <summary>The arguments: the input of the reading probe, one output a thread for both.</summary>
    internal struct Parameters
    {
        public ArrayView<Float4> Input;
        public ArrayView<float> Output;
        public long Quads;
        public int Rounds;
        public float Factor;
    }

    /// <summary>Sixteen independent chains of multiply-adds a thread, which stay near 1 for ever.</summary>
    public static void MultiplyAddChains(Parameters p)
    {
        float factor = p.Factor, term = 1f - p.Factor;
        var factors = Float4.Broadcast(factor);
        var terms = Float4.Broadcast(term);
        var a = Float4.Broadcast(Group.IdxX);
        Float4 b = Float4.Add(a, factors), c = Float4.Add(b, factors), d = Float4.Add(c, factors);
        for (int round = 0; round < p.Rounds; round++)
        {
            a = Float4.Add(Float4.Multiply(a, factors), terms);
            b = Float4.Add(Float4.Multiply(b, factors), terms);
            c = Float4.Add(Float4.Multiply(c, factors), terms);
            d = Float4.Add(Float4.Multiply(d, factors), terms);
            a = Float4.Add(Float4.Multiply(a, factors), terms);
            b = Float4.Add(Float4.Multiply(b, factors), terms);
            c = Float4.Add(Float4.Multiply(c, factors), terms);
            d = Float4.Add(Float4.Multiply(d, factors), terms);
            a = Float4.Add(Float4.Multiply(a, factors), terms);
            b = Float4.Add(Float4.Multiply(b, factors), terms);
            c = Float4.Add(Float4.Multiply(c, factors), terms);
            d = Float4.Add(Float4.Multiply(d, factors), terms);
            a = Float4.Add(Float4.Multiply(a, factors), terms);
            b = Float4.Add(Float4.Multiply(b, factors), terms);
            c = Float4.Add(Float4.Multiply(c, factors), terms);
            d = Float4.Add(Float4.Multiply(d, factors), terms);
        }
        p.Output[(long)Grid.IdxX * Threads + Group.IdxX] = Float4.SumAcross(Float4.Add(Float4.Add(a, b), Float4.Add(c, d)));
    }

    /// <summary>Each thread reads every (threads of the grid)-th quad; the sum makes the loads necessary.</summary>
    public static void ReadAll(Parameters p)
    {
        long thread = (long)Grid.IdxX * Threads + Group.IdxX, step = (long)Grid.DimX * Threads;
        Float4 sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        long i = thread;
        for (; i + 3 * step < p.Quads; i += 4 * step)
        {
            sum0 = Float4.Add(sum0, p.Input[i]);
            sum1 = Float4.Add(sum1, p.Input[i + step]);
            sum2 = Float4.Add(sum2, p.Input[i + 2 * step]);
            sum3 = Float4.Add(sum3, p.Input[i + 3 * step]);
        }
        for (; i < p.Quads; i += step)
            sum0 = Float4.Add(sum0, p.Input[i]);
        p.Output[thread] = Float4.SumAcross(Float4.Add(Float4.Add(sum0, sum1), Float4.Add(sum2, sum3)));
    }
}
