namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>f16 operands.</summary>
internal readonly struct TensorCoreFloat16 : ITensorCoreElement
{
    public static int IsBFloat16 => 0;
}
