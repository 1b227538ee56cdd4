using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// Draws a token of each row from softmax(logits / temperature) after top-k, top-p and min-p, without sorting. Tokens stand in
/// order of logit, largest first, then of index; each filter, and the draw, ends a prefix of that order at the first token
/// whose cumulative weight exceeds a target. That token is found by bisection, first over the bits of its logit, then over its
/// index among equal logits:
/// <code>
/// the largest key with  Σ_{key_i ≥ key} w_i &gt; target     w = 1 for top-k, exp((x − max) / temperature) for the others
/// </code>
/// Sums of numbers that are not negative, in a fixed order, never shrink when one is added, so that the bisection is sound in
/// float32. One group of 128 threads has one row and reads it 33 + log2 size times for each filter and for the draw, from
/// cache. All of it is one loop around one sum: barriers under conditions would make some OpenCL compilers copy the code that
/// follows them, again and again.
/// </summary>
internal static class Sample
{
    // The key of −∞, below every token that can be drawn.
    private const uint LowestKey = 0x007FFFFFu;

    private const int TopK = 0, TopP = 1, Draw = 2, KeySteps = 32;

    /// <summary>The kernel; one group a row.</summary>
    public static void SampleRows(RowParameters p)
    {
        ArrayView<float> sums = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ArrayView<int> indices = SharedMemory.Allocate<int>(GroupReduce.Threads);
        int first = ArgMax.Find(ref p, sums, indices);
        float max = p.Logits.Data[Grid.IdxX * p.Logits.RowStride + (first > 0 ? first : 0)];
        bool hasNone = first < 0 || max == float.PositiveInfinity;

        var search = new Search { CutKey = LowestKey + 1u, CutIndex = p.Size - 1, Max = hasNone ? 0f : max };
        search.Begin(p.TopK > 0 ? TopK : p.TopP < 1f ? TopP : Draw, ref p);
        int steps = 1 + KeySteps + p.IndexSteps;
        int passes = steps * (1 + (p.TopK > 0 ? 1 : 0) + (p.TopP < 1f ? 1 : 0));
        int step = 0;
        for (int pass = 0; pass < passes; pass++)
        {
            float mass = GroupReduce.Sum(sums, Weight(ref p, ref search));
            search.Take(mass, step, ref p);
            step++;
            if (step == steps)
            {
                search.End(ref p);
                step = 0;
            }
        }
        if (Group.IdxX == 0)
            p.Indices[Grid.IdxX] = hasNone ? -1 : search.CutIndex;
    }

    // This thread's share of the weight of the tokens that stand not behind the search's question.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Weight(ref RowParameters p, ref Search search)
    {
        long row = Grid.IdxX * p.Logits.RowStride;
        float sum = 0f;
        for (int i = Group.IdxX; i < p.Size; i += GroupReduce.Threads)
        {
            float value = p.Logits.Data[row + i];
            uint key = OrderedKey(value);
            float exponent = (value - search.Max) / p.Temperature;
            bool isIn = (key > search.AskedKey || (key == search.AskedKey && i <= search.AskedIndex)) && !(exponent < search.LowestExponent);
            float weight = search.Filter == TopK ? 1f : XMath.Exp(exponent);
            sum += isIn ? weight : 0f;
        }
        return sum;
    }

    // Unsigned integers in the order of the floats; −0 and 0 are equal.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint OrderedKey(float value)
    {
        uint bits = value == 0f ? 0u : Interop.FloatAsInt(value);
        return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
    }

    // The tokens kept so far are those not behind (CutKey, CutIndex); the search asks for the weight of those not behind
    // (AskedKey, AskedIndex). The same in every thread.
    private struct Search
    {
        public uint CutKey, AskedKey, Key, Bit;
        public int CutIndex, AskedIndex, Low, High, Filter, Crosses;
        public float Max, LowestExponent, Target;

        // Asks for everything kept.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Begin(int filter, ref RowParameters p)
        {
            Filter = filter;
            LowestExponent = filter == Draw ? p.LowestExponent : float.NegativeInfinity;
            AskedKey = CutKey;
            AskedIndex = CutIndex;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Take(float mass, int step, ref RowParameters p)
        {
            if (step == 0)
            {
                // Rounding may leave no token beyond a draw's target; then the last one that still changes the sum is drawn.
                float draw = p.Uniforms[Grid.IdxX] * mass;
                draw = draw < mass ? draw : mass * 0.99999988f;
                Target = Filter == TopK ? p.TopK - 1 : Filter == TopP ? p.TopP * mass : draw;
                Crosses = mass > Target ? 1 : 0;
                Key = 0u;
                Bit = 0x80000000u;
            }
            else if (step <= KeySteps)
            {
                // Down to the cut's key is everything kept, which exceeds the target if anything does.
                Key = AskedKey <= CutKey || mass > Target ? AskedKey : Key;
                Bit >>= 1;
                Low = 0;
                High = Key == CutKey ? CutIndex : p.Size - 1;
            }
            else
            {
                bool isEnough = mass > Target;
                High = isEnough ? AskedIndex : High;
                Low = isEnough || Low == High ? Low : AskedIndex + 1;
            }
            bool isKeyNext = step < KeySteps;
            AskedKey = isKeyNext ? Key | Bit : Key;
            AskedIndex = isKeyNext ? p.Size - 1 : Low + (High - Low) / 2;
        }

        // Cuts behind the token that was found, and goes on to the next filter.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void End(ref RowParameters p)
        {
            CutKey = Crosses != 0 ? Key : CutKey;
            CutIndex = Crosses != 0 ? Low : CutIndex;
            Begin(Filter == TopK && p.TopP < 1f ? TopP : Draw, ref p);
        }
    }
}
