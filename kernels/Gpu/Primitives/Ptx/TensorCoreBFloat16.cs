namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>bf16 operands.</summary>
internal readonly struct TensorCoreBFloat16 : ITensorCoreElement
{
    public static int IsBFloat16 => 1;
}
