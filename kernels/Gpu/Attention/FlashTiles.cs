namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Value dims up to 64: 64 threads, 64 query rows × 32 keys, 20 KiB of shared memory.</summary>
internal readonly struct FlashTile64 : IFlashTile
{
    public static int ThreadsX => 8;

    public static int ThreadsY => 8;
}

/// <summary>Value dims up to 128: 128 threads, 64 query rows × 64 keys, 32 KiB of shared memory.</summary>
internal readonly struct FlashTile128 : IFlashTile
{
    public static int ThreadsX => 16;

    public static int ThreadsY => 8;
}

/// <summary>Value dims up to 256: 128 threads, 32 query rows × 128 keys, 36 KiB of shared memory.</summary>
internal readonly struct FlashTile256 : IFlashTile
{
    public static int ThreadsX => 32;

    public static int ThreadsY => 4;
}
