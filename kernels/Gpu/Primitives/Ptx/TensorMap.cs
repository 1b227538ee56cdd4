using System.Runtime.InteropServices;

namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// What the copy engine of sm_90 knows of a tensor (address, shape, strides, box, swizzle), as the driver encodes it. A kernel
/// gets it by value and passes on its address.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TensorMap
{
    /// <summary>Bytes of a map.</summary>
    public const int Size = 128;

    public long Word0, Word1, Word2, Word3, Word4, Word5, Word6, Word7, Word8, Word9, Word10, Word11, Word12, Word13, Word14, Word15;
}
