using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// Draws a token of each row from softmax(logits / temperature) after top-k, top-p and min-p, without sorting. Tokens stand in
/// order of logit, largest first, then of index; every filter keeps a prefix of that order, whose last token is found by
/// bisection over the bits of the logit:
/// <code>
/// the largest key with  Σ_{kept, key_i ≥ key} w_i &gt; target     w = 1 for top-k, exp((x − max) / temperature) for the others
/// </code>
/// Sums of numbers that are not negative, in a fixed order, never shrink when one is added, so that the bisection is sound in
/// float32. One group of 128 threads has one row and reads it 34 times a filter and 34 for the draw, from cache; ties between
/// equal logits cost 32 more.
/// </summary>
internal static class Sample
{
    // The key of −∞, below every token that can be drawn.
    private const uint LowestKey = 0x007FFFFFu;

    /// <summary>The kernel; one group a row.</summary>
    public static void SampleRows(RowParameters p)
    {
        ArrayView<float> sums = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        ArrayView<int> indices = SharedMemory.Allocate<int>(GroupReduce.ScratchSize);
        int first = ArgMax.Find(ref p, sums, indices);
        float max = first >= 0 ? p.Logits.Data[Grid.IdxX * p.Logits.RowStride + first] : float.PositiveInfinity;
        if (max < float.PositiveInfinity) // the same for the whole group
        {
            var cut = new Prefix { Key = LowestKey + 1u, Index = int.MaxValue, Max = max, LowestExponent = float.NegativeInfinity };
            if (p.TopK > 0)
            {
                cut.IsCounting = 1;
                Cut(ref p, ref cut, sums, indices, p.TopK - 1);
                cut.IsCounting = 0;
            }
            if (p.TopP < 1f)
                Cut(ref p, ref cut, sums, indices, p.TopP * Mass(ref p, ref cut, sums, cut.Key, cut.Index));
            cut.LowestExponent = p.LowestExponent;
            float total = Mass(ref p, ref cut, sums, cut.Key, cut.Index);
            float target = p.Uniforms[Grid.IdxX] * total;
            // Rounding may leave no token beyond the target; then the last one that still changes the sum is drawn.
            target = target < total ? target : total * 0.99999988f;
            Cut(ref p, ref cut, sums, indices, target);
            first = cut.Index;
        }
        else
        {
            first = -1;
        }
        if (Group.IdxX == 0)
            p.Indices[Grid.IdxX] = first;
    }

    // Ends the prefix at the first token whose cumulative weight exceeds the target; leaves it when there is none.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Cut(ref RowParameters p, ref Prefix cut, ArrayView<float> sums, ArrayView<int> indices, float target)
    {
        if (Mass(ref p, ref cut, sums, cut.Key, cut.Index) > target)
        {
            uint key = 0u;
            for (uint bit = 0x80000000u; bit != 0u; bit >>= 1)
            {
                uint candidate = key | bit;
                // Down to the present cut's key is the whole prefix, and that exceeds the target.
                if (candidate <= cut.Key || Mass(ref p, ref cut, sums, candidate, int.MaxValue) > target)
                    key = candidate;
            }
            int limit = key == cut.Key ? cut.Index : int.MaxValue;

            // Of equal logits the first suffice that exceed the target.
            int lowest = -GroupReduce.Max(indices, FindKey(ref p, key, limit, true));
            int highest = GroupReduce.Max(indices, FindKey(ref p, key, limit, false));
            while (lowest < highest)
            {
                int middle = lowest + (highest - lowest) / 2;
                if (Mass(ref p, ref cut, sums, key, middle) > target)
                    highest = middle;
                else
                    lowest = middle + 1;
            }
            cut.Key = key;
            cut.Index = lowest;
        }
    }

    // The weight of the tokens that the prefix has and that stand not behind (key, index).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Mass(ref RowParameters p, ref Prefix cut, ArrayView<float> sums, uint key, int index)
    {
        long row = Grid.IdxX * p.Logits.RowStride;
        float sum = 0f;
        for (int i = Group.IdxX; i < p.Size; i += GroupReduce.Threads)
        {
            float value = p.Logits.Data[row + i];
            uint own = OrderedKey(value);
            float exponent = (value - cut.Max) / p.Temperature;
            bool isIn = (own > key || (own == key && i <= index)) && !(exponent < cut.LowestExponent);
            float weight = cut.IsCounting != 0 ? 1f : XMath.Exp(exponent);
            sum += isIn ? weight : 0f;
        }
        return GroupReduce.Sum(sums, sum);
    }

    // This thread's last index with the key, or minus its first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FindKey(ref RowParameters p, uint key, int limit, bool isFirst)
    {
        long row = Grid.IdxX * p.Logits.RowStride;
        int found = -int.MaxValue;
        for (int i = Group.IdxX; i < p.Size; i += GroupReduce.Threads)
        {
            int candidate = isFirst ? -i : i;
            if (OrderedKey(p.Logits.Data[row + i]) == key && i <= limit && candidate > found)
                found = candidate;
        }
        return found;
    }

    // Unsigned integers in the order of the floats; −0 and 0 are equal.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint OrderedKey(float value)
    {
        uint bits = value == 0f ? 0u : Interop.FloatAsInt(value);
        return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
    }

    // The tokens kept so far: those not behind (Key, Index), and of them those with an exponent of at least LowestExponent.
    private struct Prefix
    {
        public uint Key;
        public int Index, IsCounting;
        public float Max, LowestExponent;
    }
}
