namespace KernelEngine.Cli;

/// <summary>Which vector widths the runtime accelerates here. Settings of the runtime can switch them off.</summary>
/// <param name="Vector512">512 bits, as AVX-512.</param>
/// <param name="Vector256">256 bits, as AVX2.</param>
/// <param name="Vector128">128 bits, as SSE or NEON.</param>
internal sealed record Machine(bool Vector512, bool Vector256, bool Vector128)
{
    public static Machine Current { get; } = new(
        System.Runtime.Intrinsics.Vector512.IsHardwareAccelerated,
        System.Runtime.Intrinsics.Vector256.IsHardwareAccelerated,
        System.Runtime.Intrinsics.Vector128.IsHardwareAccelerated);
}
