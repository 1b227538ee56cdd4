namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>A 16-bit format that tensor cores multiply.</summary>
internal interface ITensorCoreElement
{
    /// <summary>1 for bf16, 0 for f16: a number, since inline code takes no other constant.</summary>
    static abstract int IsBFloat16 { get; }
}
