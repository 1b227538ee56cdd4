using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>How keys and values lie in a cache: pages, lengths of each head, scales of i8 rows, biases of slots.</summary>
internal struct CacheParameters
{
    public ArrayView<int> KvLengths;            // [batchSize, numKvHeads]
    public ArrayView<int> PageTable;            // [batchSize, numKvHeads, pages]
    public ArrayView<float> SlotBias;           // [batchSize, numKvHeads, kvLength]
    public ArrayView<float> KeyScale;           // [batchSize, numKvHeads, kvLength], or [poolPages, headsOfAPage, pageSize]
    public ArrayView<float> ValueScale;
    public long LengthStride, PageBatchStride, PageHeadStride, SlotBatchStride, SlotHeadStride;
    public long KeyScaleBatchStride, KeyScaleHeadStride, ValueScaleBatchStride, ValueScaleHeadStride;
    public int HasLengths, HasSlotBias, HasScales;
    public int PageSize, IsHeadPaged;           // PageSize: 0 when keys lie side by side

    /// <summary>The keys in use of a head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Length(int batch, int kvHead, int kvLength) => HasLengths != 0 ? KvLengths[batch * LengthStride + kvHead] : kvLength;

    /// <summary>Where a key lies: the indices of the first three dimensions of key and value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly KeyPlace Find(ref SequenceRows sequence, int key)
    {
        var place = new KeyPlace { Batch = sequence.Batch, Token = sequence.KeyStart + key, Head = sequence.KvHead };
        if (PageSize > 0)
        {
            place.Batch = PageTable[sequence.Batch * PageBatchStride + sequence.KvHead * PageHeadStride + key / PageSize];
            place.Token = key % PageSize;
            place.Head = IsHeadPaged != 0 ? 0 : sequence.KvHead;
        }
        return place;
    }

    /// <summary>What is added to the scores of a key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float BiasOf(ref SequenceRows sequence, int key) =>
        HasSlotBias != 0 ? SlotBias[sequence.Batch * SlotBatchStride + sequence.KvHead * SlotHeadStride + key] : 0f;
}
