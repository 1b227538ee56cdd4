namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Head dimension 64: 128 keys by 128 query rows, then 128 query rows by 64 keys.</summary>
internal readonly struct BackwardMmaTile64 : IBackwardMmaTile
{
    public static int HeadDim => 64;
    public static int RowTiles => 2;
    public static int ThreadsOfRow => 8;
    public static int BlockM => 128;
    public static int BlockN => 64;
}

/// <summary>Head dimension 96: 128 keys by 64 query rows, then 128 query rows by 48 keys.</summary>
internal readonly struct BackwardMmaTile96 : IBackwardMmaTile
{
    public static int HeadDim => 96;
    public static int RowTiles => 2;
    public static int ThreadsOfRow => 16;
    public static int BlockM => 64;
    public static int BlockN => 48;
}

/// <summary>Head dimension 128: 128 keys by 64 query rows, then 128 query rows by 32 keys.</summary>
internal readonly struct BackwardMmaTile128 : IBackwardMmaTile
{
    public static int HeadDim => 128;
    public static int RowTiles => 2;
    public static int ThreadsOfRow => 16;
    public static int BlockM => 64;
    public static int BlockN => 32;
}

/// <summary>Head dimension 256: 64 keys by 32 query rows, then 64 query rows by 32 keys. The sums of 16 rows fill a warp's registers.</summary>
internal readonly struct BackwardMmaTile256 : IBackwardMmaTile
{
    public static int HeadDim => 256;
    public static int RowTiles => 1;
    public static int ThreadsOfRow => 32;
    public static int BlockM => 32;
    public static int BlockN => 32;
}
