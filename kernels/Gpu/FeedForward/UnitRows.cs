using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.FeedForward;

/// <summary>What happens to the units of each place between products. One group a place. Rows hold u, or, with SwiGLU, v and then u.</summary>
internal static class UnitRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of <see cref="FeedForwardDifferentiate"/>.</summary>
    public const int SharedBytes = sizeof(float) * GroupReduce.ScratchSize;

    /// <summary>The activations, by the numbers that the problem has for them.</summary>
    public const int Relu = 0, Gelu = 1, SwiGlu = 2;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public BlockLists Lists;
        public TypedTensor Kept;            // [tokens, activeBlocks, keptUnits]; strides of tokens and heads
        public MatrixView<float> Units;     // [places, keptUnits]
        public MatrixView<float> Errors;    // [places, unitsOfBlock]: e, then coefficient · h
        public MatrixView<float> Gates;     // [tokens, blocks]
        public MatrixView<float> GradGates; // [tokens, blocks]
        public float Scale;                 // blocks / activeBlocks
        public int Activation, HasKept, HasGates, HasGradGates;
    }

    /// <summary>Keeps u and v where asked to, and puts h where u was.</summary>
    public static void FeedForwardActivate(Parameters p)
    {
        int units = p.Lists.UnitsOfBlock, entry = p.Lists.Entries[Grid.IdxX], token = entry / p.Lists.ActiveBlocks;
        int first = p.Activation == SwiGlu ? units : 0;
        long row = Grid.IdxX * p.Units.RowStride, kept = p.Kept.Offset(0, token, entry - token * p.Lists.ActiveBlocks);
        for (int n = Group.IdxX; n < units; n += Threads)
        {
            float u = p.Units.Data[row + first + n], v = p.Units.Data[row + n];
            if (p.HasKept != 0)
                p.Kept.StoreOne(kept + first + n, u);
            if (p.HasKept != 0 && p.Activation == SwiGlu)
                p.Kept.StoreOne(kept + n, v);
            p.Units.Data[row + first + n] = Value(p.Activation, u, v);
        }
    }

    /// <summary>Puts the gradients of u and v where those were (or to the same place, where they were kept), and coefficient · h where e was.</summary>
    public static void FeedForwardDifferentiate(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        int units = p.Lists.UnitsOfBlock, entry = p.Lists.Entries[Grid.IdxX], token = entry / p.Lists.ActiveBlocks;
        int block = p.Lists.BlockOf(entry), first = p.Activation == SwiGlu ? units : 0;
        long row = Grid.IdxX * p.Units.RowStride, errors = Grid.IdxX * p.Errors.RowStride;
        long kept = p.Kept.Offset(0, token, entry - token * p.Lists.ActiveBlocks);
        float coefficient = 1f, sum = 0f;
        if (p.HasGates != 0)
            coefficient = p.Scale * p.Gates.Data[token * p.Gates.RowStride + block];
        for (int n = Group.IdxX; n < units; n += Threads)
        {
            float u = 0f, v = 0f, e = p.Errors.Data[errors + n];
            if (p.HasKept != 0)
            {
                u = p.Kept.LoadOne(kept + first + n);
                v = p.Kept.LoadOne(kept + n);
            }
            else
            {
                u = p.Units.Data[row + first + n];
                v = p.Units.Data[row + n];
            }
            float h = Value(p.Activation, u, v);
            sum += e * h;
            p.Errors.Data[errors + n] = coefficient * h;
            p.Units.Data[row + first + n] = coefficient * e * Slope(p.Activation, u, v);
            if (p.Activation == SwiGlu)
                p.Units.Data[row + n] = coefficient * e * GateSlope(u, v);
        }
        sum = GroupReduce.Sum(scratch, sum);
        if (p.HasGradGates != 0 && Group.IdxX == 0)
            p.GradGates.Data[token * p.GradGates.RowStride + block] = p.Scale * sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Value(int activation, float u, float v) =>
        activation == Relu ? (u < 0f ? 0f : u) : activation == Gelu ? u * NormalCdf(u) : u * (v * Sigmoid(v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Slope(int activation, float u, float v) =>
        activation == Relu ? (u > 0f ? 1f : 0f)
        : activation == Gelu ? NormalCdf(u) + u * 0.398942280f * XMath.Exp(-0.5f * u * u)
        : v * Sigmoid(v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float GateSlope(float u, float v)
    {
        float sigmoid = Sigmoid(v);
        return u * sigmoid * (1f + v * (1f - sigmoid));
    }

    /// <summary>1 / (1 + exp(−x)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Sigmoid(float x) => 1f / (1f + XMath.Exp(-x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float NormalCdf(float x) => 0.5f + 0.5f * ErrorFunction.Of(0.707106781f * x);
}
