namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Head dimension 64: blocks of 32 keys.</summary>
internal readonly struct DecodeMmaTile64 : IDecodeMmaTile
{
    public static int HeadDim => 64;
    public static int Pitch => 128;
    public static int Warps => 4;
    public static int BlockN => 32;
    public static int Stages => 3;
}

/// <summary>Head dimension 96: blocks of 16 keys.</summary>
internal readonly struct DecodeMmaTile96 : IDecodeMmaTile
{
    public static int HeadDim => 96;
    public static int Pitch => 256;
    public static int Warps => 4;
    public static int BlockN => 16;
    public static int Stages => 3;
}

/// <summary>Head dimension 128: blocks of 16 keys.</summary>
internal readonly struct DecodeMmaTile128 : IDecodeMmaTile
{
    public static int HeadDim => 128;
    public static int Pitch => 256;
    public static int Warps => 4;
    public static int BlockN => 16;
    public static int Stages => 3;
}

/// <summary>Head dimension 256: blocks of 16 keys, two warps with twice the ring.</summary>
internal readonly struct DecodeMmaTile256 : IDecodeMmaTile
{
    public static int HeadDim => 256;
    public static int Pitch => 512;
    public static int Warps => 2;
    public static int BlockN => 16;
    public static int Stages => 3;
}
