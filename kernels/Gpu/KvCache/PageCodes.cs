using ILGPU;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// Pages of codes, as kernels see them: <c>x = code · scale + minimum</c>, with a scale a channel of a page of keys, and 32 of a value.
/// </summary>
internal struct PageCodes
{
    /// <summary>Channels of a value that share a scale.</summary>
    public const int GroupSize = 32;

    public ArrayView<sbyte> Key, Value;                                 // [pages, pageSize, dim · bits / 8]
    public ArrayView<ushort> KeyScale, KeyMinimum;                      // f16 [pages, headDim]
    public ArrayView<ushort> ValueScale, ValueMinimum;                  // f16 [pages, pageSize, ⌈valueHeadDim / 32⌉]
    public long KeyPageStride, KeyRowStride, ValuePageStride, ValueRowStride, KeyScaleStride, KeyMinimumStride;
    public long ValueScalePageStride, ValueScaleRowStride, ValueMinimumPageStride, ValueMinimumRowStride;
    public int Bits;
}
