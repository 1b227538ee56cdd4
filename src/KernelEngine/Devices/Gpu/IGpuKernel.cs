namespace KernelEngine;

/// <summary>A kernel that ILGPU compiles, whatever its problem: what the checks of generated code need to know.</summary>
internal interface IGpuKernel
{
    /// <summary>Every instance of device code that the kernel may launch.</summary>
    IReadOnlyList<GpuEntry> Entries { get; }
}
