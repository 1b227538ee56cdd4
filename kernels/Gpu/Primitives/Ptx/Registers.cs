using System.Runtime.CompilerServices;
using ILGPU.Runtime.Cuda;

namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>Where values are computed.</summary>
internal static class Registers
{
    /// <summary>The value, computed here: ILGPU moves what it knows to the places that use it, into loops too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Pin(int value)
    {
        CudaAsm.Emit("mov.b32 %0, %1;", out int pinned, value);
        return pinned;
    }

    /// <inheritdoc cref="Pin(int)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Pin(long value)
    {
        CudaAsm.Emit("mov.b64 %0, %1;", out long pinned, value);
        return pinned;
    }

    /// <summary>The value of a warp's first lane: tells the assembler that it is the same for all.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Uniform(int value)
    {
        CudaAsm.Emit("shfl.sync.idx.b32 %0, %1, 0, 31, -1;", out int uniform, value);
        return uniform;
    }
}
