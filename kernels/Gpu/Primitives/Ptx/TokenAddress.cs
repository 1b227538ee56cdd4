using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// A tensor [batchSize, tokens, heads, dim] of 16-bit elements as inline code sees it: the address of its first element, 0 where there
/// is none, and strides in elements; those of the last dimension are neighbours.
/// </summary>
internal struct TokenAddress
{
    public long Address, BatchStride, TokenStride, HeadStride;

    /// <summary>Where a row of a head begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long At(int batch, int token, int head) =>
        Address + 2 * (batch * BatchStride + token * TokenStride + head * HeadStride);
}
