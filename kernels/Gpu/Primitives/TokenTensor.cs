using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// A tensor [batchSize, tokens, heads, dim] as kernels see it: elements of the last dimension are neighbours, the other
/// strides (in elements) are whatever the caller's tensor has.
/// </summary>
internal struct TokenTensor<T> where T : unmanaged
{
    public ArrayView<T> Data;
    public long BatchStride, TokenStride, HeadStride;

    /// <summary>1 when every row begins on four elements and is a multiple of four long, so that Load4 and Store4 are allowed.</summary>
    public int HasQuads;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long Offset(int batch, int token, int head) => batch * BatchStride + token * TokenStride + head * HeadStride;
}
