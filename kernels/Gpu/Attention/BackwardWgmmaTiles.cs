namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Head dimension 64: 128 keys by 64 query rows, then 128 query rows by 64 keys.</summary>
internal readonly struct BackwardWgmmaTile64 : IBackwardWgmmaTile
{
    public static int HeadDim => 64;
    public static int BlockM => 64;
    public static int BlockN => 64;
    public static int StartsAllAtOnce => 1;
}

/// <summary>Head dimension 128: 128 keys by 64 query rows, then 128 query rows by 64 keys.</summary>
internal readonly struct BackwardWgmmaTile128 : IBackwardWgmmaTile
{
    public static int HeadDim => 128;
    public static int BlockM => 64;
    public static int BlockN => 64;
    public static int StartsAllAtOnce => 0;
}
