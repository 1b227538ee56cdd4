namespace KernelEngine;

/// <summary>One piece of device code for each of the 16-bit formats that tensor cores multiply.</summary>
internal sealed record TensorCoreEntries<TParameters>(CudaEntry<TParameters> Float16, CudaEntry<TParameters> BFloat16) where TParameters : unmanaged
{
    /// <summary>Both.</summary>
    public IEnumerable<GpuEntry> All => [Float16, BFloat16];

    /// <summary>The code for operands of one of the formats.</summary>
    public CudaEntry<TParameters> For(DataType type) => type == DataType.BFloat16 ? BFloat16 : Float16;
}
