using ILGPU;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>Device code whose arguments are one struct.</summary>
internal sealed class GpuEntry<TParameters>(Action<TParameters> body, int threads, int sharedBytes, bool hasQuadLoads = true)
    : GpuEntry(body, threads, sharedBytes, hasQuadLoads) where TParameters : struct
{
    /// <summary>Compiles the code for a device.</summary>
    public Action<AcceleratorStream, KernelConfig, TParameters> Load(Accelerator accelerator) =>
        accelerator.LoadKernel(body, Specialization);
}
