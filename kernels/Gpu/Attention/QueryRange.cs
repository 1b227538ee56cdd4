namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Query rows First .. End − 1 of a sequence; none when End is not above First.</summary>
internal struct QueryRange
{
    public int First, End;
}
