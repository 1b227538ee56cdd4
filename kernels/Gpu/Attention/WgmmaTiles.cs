namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Head dimension 64: 128 query rows by 128 keys. With (4, 16, 4096, 64) on an H200 432 TFLOP/s; 192 rows, whose threads have fewer
/// registers, reach 283.
/// </summary>
internal readonly struct WgmmaTile64 : IWgmmaTile
{
    public static int HeadDim => 64;
    public static int Consumers => 2;
    public static int BlockN => 128;
    public static int Stages => 4;
    public static int TakesTurns => 0;
    public static int ConsumerRegisters => 240;
    public static int ProducerRegisters => 24;
}

/// <summary>Head dimension 128: 128 query rows by 128 keys. With (4, 16, 4096, 128) on an H200 479 TFLOP/s, 400 where warp groups take turns.</summary>
internal readonly struct WgmmaTile128 : IWgmmaTile
{
    public static int HeadDim => 128;
    public static int Consumers => 2;
    public static int BlockN => 128;
    public static int Stages => 2;
    public static int TakesTurns => 0;
    public static int ConsumerRegisters => 240;
    public static int ProducerRegisters => 24;
}
