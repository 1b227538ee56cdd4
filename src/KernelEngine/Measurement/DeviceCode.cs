using ILGPU;
using ILGPU.Runtime.Cuda;

namespace KernelEngine;

/// <summary>One instance of a kernel's device code as NVIDIA's GPUs get it, compiled without a GPU.</summary>
public sealed class DeviceCode
{
    private const int PortableCapability = 80;

    private readonly PtxTarget? _target;

    private DeviceCode(GpuEntry entry, string ptx)
    {
        (Name, Threads, Ptx) = (entry.Name, entry.Threads, ptx);
        _target = (entry as CudaEntry)?.Target;
        DynamicSharedBytes = (entry as CudaEntry)?.DynamicSharedBytes ?? 0;
        StaticSharedBytes = entry is CudaEntry ? 0 : entry.SharedBytes;
    }

    /// <summary>Null where NVIDIA's tools are at hand, so that code can be assembled, else a sentence that says what is missing.</summary>
    public static string? WhyCannotAssemble => PtxAssembler.WhyAbsent;

    /// <summary>The method with the type arguments that tell instances apart.</summary>
    public string Name { get; }

    /// <summary>The architecture it is written for; null for portable code.</summary>
    public string? Target => _target?.Name;

    /// <summary>Threads of a group.</summary>
    public int Threads { get; }

    /// <summary>Shared memory of a group that the code declares.</summary>
    public int StaticSharedBytes { get; }

    /// <summary>Shared memory of a group that a launch asks for.</summary>
    public int DynamicSharedBytes { get; }

    /// <summary>The code as text that the driver assembles.</summary>
    public string Ptx { get; }

    /// <summary>Whether it has products on tensor cores.</summary>
    public bool UsesTensorCores =>
        Ptx.Contains("mma.sync.", StringComparison.Ordinal) || Ptx.Contains("wgmma.mma_async.", StringComparison.Ordinal);

    /// <summary>The names of a kernel's device code, without compiling it.</summary>
    /// <exception cref="NotSupportedException">The kernel has none: it runs on the host.</exception>
    public static IReadOnlyList<string> NamesOf(Kernel kernel) => [.. Entries(kernel).Select(entry => entry.Name)];

    /// <summary>Compiles a kernel's device code whose name contains <paramref name="namePart"/>.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="namePart">Part of a name; empty for all.</param>
    /// <param name="hasLines">Whether the text says from which lines of source it comes, where symbols and source are at hand.</param>
    /// <exception cref="NotSupportedException">The kernel has none: it runs on the host.</exception>
    public static IReadOnlyList<DeviceCode> Compile(Kernel kernel, string namePart = "", bool hasLines = false)
    {
        using Context context = PtxCompiler.CreateContext(hasLines);
        return
        [
            .. Entries(kernel).Where(entry => entry.Name.Contains(namePart, StringComparison.OrdinalIgnoreCase)).Select(entry => new DeviceCode(
                entry, entry is CudaEntry cuda ? PtxCompiler.Compile(cuda, hasLines).Text
                    : PtxCompiler.CompileText(context, entry, CudaArchitecture.SM_80))),
        ];
    }

    /// <summary>Null where the code runs on an architecture, else a sentence that says why it does not.</summary>
    /// <param name="architecture">sm_80, sm_90 or sm_90a.</param>
    public string? WhyNotFor(string architecture)
    {
        ArgumentNullException.ThrowIfNull(architecture);
        int capability = int.Parse(architecture.AsSpan(3, 2), null);
        // Instructions of one architecture alone are in code for exactly that one.
        return _target is null ? capability >= PortableCapability ? null : $"needs sm_{PortableCapability}"
            : (_target.IsExact ? architecture == _target.Name : _target.RunsOn(capability)) ? null
            : $"is written for {_target}";
    }

    /// <summary>What NVIDIA's assembler makes of it, with its machine instructions counted.</summary>
    /// <param name="architecture">One that <see cref="WhyNotFor"/> has nothing against.</param>
    /// <exception cref="KernelCompilationException">The assembler refuses it.</exception>
    public AssembledPtx Assemble(string architecture) =>
        Told(architecture, () => PtxAssembler.Assemble(Ptx, architecture, countInstructions: true));

    /// <summary>The machine instructions.</summary>
    /// <param name="architecture">One that <see cref="WhyNotFor"/> has nothing against.</param>
    /// <exception cref="KernelCompilationException">The assembler refuses it.</exception>
    public string Disassemble(string architecture) => Told(architecture, () => PtxAssembler.Disassemble(Ptx, architecture));

    private T Told<T>(string architecture, Func<T> assemble)
    {
        try
        {
            return assemble();
        }
        catch (InvalidOperationException e)
        {
            throw new KernelCompilationException($"Could not assemble {Name} for {architecture}: {e.Message}", e);
        }
    }

    private static IReadOnlyList<GpuEntry> Entries(Kernel kernel) => kernel is IGpuKernel gpu ? gpu.Entries
        : throw new NotSupportedException($"{kernel?.Name} runs on the host and has no device code.");
}
