namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>The keys that some row of a group sees: 0 .. SinkEnd − 1 and First .. End − 1.</summary>
internal struct KeyUnion
{
    public int SinkEnd, First, End;
}
