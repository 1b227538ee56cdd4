using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Merges attention over one set of keys with attention over another, in place:
/// <code>
/// m = max(lse, lse')    w = exp(lse − m)    w' = exp(lse' − m)    output = (w · o + w' · o') / (w + w')    lse = m + ln(w + w')
/// </code>
/// A part of weight 0 is not read; when both see no key, the output is 0 and lse −∞. One group of 64 threads merges one row.
/// </summary>
internal static class MergeStates
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T, TOther> where T : unmanaged where TOther : unmanaged
    {
        public TokenTensor<T> Output;           // [batchSize, queryLength, numHeads, valueHeadDim]
        public TokenTensor<TOther> OtherOutput; // the same
        public ArrayView<float> Lse, OtherLse;  // [batchSize, numHeads, queryLength], natural log
        public long LseBatchStride, LseHeadStride, OtherLseBatchStride, OtherLseHeadStride;
        public int NumHeads, QueryLength, ValueHeadDim;
    }

    /// <summary>The kernel; one group for each query row of each head of each sequence.</summary>
    public static void MergeTwoStates<T, TStorage, TOther, TOtherStorage>(Parameters<T, TOther> p)
        where T : unmanaged where TStorage : struct, IStorage<T>
        where TOther : unmanaged where TOtherStorage : struct, IStorage<TOther>
    {
        int row = Grid.IdxX, head = row % p.NumHeads, query = row / p.NumHeads % p.QueryLength, batch = row / p.NumHeads / p.QueryLength;
        long lseAt = batch * p.LseBatchStride + head * p.LseHeadStride + query;
        float lse = p.Lse[lseAt], otherLse = p.OtherLse[batch * p.OtherLseBatchStride + head * p.OtherLseHeadStride + query];
        Group.Barrier(); // every thread has read lse before one writes it
        float max = otherLse > lse ? otherLse : lse;
        float shift = max == float.NegativeInfinity ? 0f : max; // −∞ − (−∞) would be NaN
        float weight = XMath.Exp(lse - shift), otherWeight = XMath.Exp(otherLse - shift), total = weight + otherWeight;
        float inverse = total == 0f ? 0f : 1f / total;
        long output = p.Output.Offset(batch, query, head), other = p.OtherOutput.Offset(batch, query, head);
        for (int column = Group.IdxX; column < p.ValueHeadDim; column += Threads)
        {
            float sum = 0f;
            if (weight != 0f)
                sum += weight * TStorage.Load(p.Output.Data[output + column]);
            if (otherWeight != 0f)
                sum += otherWeight * TOtherStorage.Load(p.OtherOutput.Data[other + column]);
            p.Output.Data[output + column] = TStorage.Store(sum * inverse);
        }
        if (Group.IdxX == 0)
            p.Lse[lseAt] = total == 0f ? float.NegativeInfinity : shift + XMath.Log(total);
    }
}
