namespace KernelEngine;

/// <summary>
/// Device code whose arguments are one struct without views: addresses are numbers, since inline code takes no others.
/// </summary>
internal sealed class CudaEntry<TParameters>(Action<TParameters> body, PtxTarget target, int threads, int dynamicSharedBytes, int groupsPerMultiprocessor = 1)
    : CudaEntry(body, target, threads, dynamicSharedBytes, groupsPerMultiprocessor) where TParameters : unmanaged;
