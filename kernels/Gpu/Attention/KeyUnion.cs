namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// The keys that some row of a group sees, 0 .. SinkEnd − 1 and First .. End − 1, and those in every row's window,
/// CommonFirst .. CommonEnd − 1.
/// </summary>
internal struct KeyUnion
{
    public int SinkEnd, First, End, CommonFirst, CommonEnd;
}
