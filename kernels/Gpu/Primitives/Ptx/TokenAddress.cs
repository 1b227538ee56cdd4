namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// A tensor [batchSize, tokens, heads, dim] as inline code sees it: the address of its first element, 0 where there is none, and
/// strides in elements; those of the last dimension are neighbours.
/// </summary>
internal struct TokenAddress
{
    public long Address, BatchStride, TokenStride, HeadStride;
}
