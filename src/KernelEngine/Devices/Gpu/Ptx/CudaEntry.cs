using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>Device code for NVIDIA GPUs alone, with instructions that ILGPU does not know: see <see cref="PtxCompiler"/>.</summary>
internal abstract class CudaEntry(Delegate body, PtxTarget target, int threads, int dynamicSharedBytes, int groupsPerMultiprocessor)
    : GpuEntry(body, threads, dynamicSharedBytes, hasQuadLoads: false)
{
    /// <summary>The architecture it is written for.</summary>
    public PtxTarget Target { get; } = target;

    /// <summary>The launch bounds: as many registers as leave room for this many groups.</summary>
    public override KernelSpecialization Specialization => new(Threads, groupsPerMultiprocessor);

    /// <summary>Shared memory of a group, asked for at launch: more than the 48 KiB of a declaration.</summary>
    public int DynamicSharedBytes { get; } = dynamicSharedBytes;
}
