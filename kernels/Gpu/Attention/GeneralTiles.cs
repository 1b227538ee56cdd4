namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Many rows: 128 threads, 32 rows × 64 keys, 22.4 KiB of shared memory.</summary>
internal readonly struct GeneralForwardTile : IGeneralTile
{
    public static int ThreadsX => 16;

    public static int ThreadsY => 8;
}

/// <summary>Few rows: 64 threads, 8 rows × 128 keys, 24.2 KiB of shared memory.</summary>
internal readonly struct GeneralDecodeTile : IGeneralTile
{
    public static int ThreadsX => 32;

    public static int ThreadsY => 2;
}
