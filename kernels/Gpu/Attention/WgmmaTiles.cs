namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Head dimension 64: 128 query rows by 128 keys. With 192 rows threads have too few registers, and two thirds of the speed.</summary>
internal readonly struct WgmmaTile64 : IWgmmaTile
{
    public static int HeadDim => 64;
    public static int BlockN => 128;
}

/// <summary>
/// Head dimension 128: 128 query rows by 128 keys. With (4, 16, 4096, 128) on an H200 616 TFLOP/s; 598 where the warp groups take turns
/// at the tensor cores, 613 with three stages.
/// </summary>
internal readonly struct WgmmaTile128 : IWgmmaTile
{
    public static int HeadDim => 128;
    public static int BlockN => 128;
}
