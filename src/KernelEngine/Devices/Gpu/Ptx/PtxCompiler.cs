using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;

namespace KernelEngine;

/// <summary>
/// C# device code to the PTX that the driver loads: ILGPU compiles the method, then the passes of this folder raise the target,
/// unroll the templates of inline code and keep scalars in registers. Needs no GPU and no toolkit.
/// </summary>
internal static partial class PtxCompiler
{
    private static readonly Lock s_gate = new();

    /// <summary>Compiles an entry.</summary>
    /// <exception cref="InvalidOperationException">The inline code has an error, or an array stays in local memory.</exception>
    public static PtxKernel Compile(CudaEntry entry) => Compile(entry, hasLines: false);

    /// <inheritdoc cref="Compile(CudaEntry)"/>
    /// <param name="entry">The entry.</param>
    /// <param name="hasLines">Whether the text says from which lines of source it comes, where symbols and source are at hand.</param>
    public static PtxKernel Compile(CudaEntry entry, bool hasLines)
    {
        lock (s_gate)
        {
            try
            {
                // A context of its own: after one failed compilation ILGPU's context refuses correct code too.
                using Context context = CreateContext(hasLines);
                return Rewrite(CompileText(context, entry, CudaArchitecture.SM_90), entry);
            }
            catch (InternalCompilerException) when (hasLines)
            {
                // ILGPU reads the source for its lines: it may be another than was compiled.
                return Compile(entry);
            }
        }
    }

    /// <summary>A context that compiles without a device.</summary>
    /// <param name="hasLines">Whether texts say from which lines of source they come, where symbols and source are at hand.</param>
    public static Context CreateContext(bool hasLines = false) => Context.Create(builder =>
    {
        builder.CPU().EnableAlgorithms().Optimize(OptimizationLevel.O2);
        // ILGPU 1.5.3 does not keep what its own method DebugSymbols is told, and writes lines in this mode alone.
        if (hasLines)
            SetDebugSymbols(builder, DebugSymbolsMode.KernelSourceAnnotations);
    });

    /// <summary>What ILGPU alone makes of an entry: all there is to do for a portable one.</summary>
    public static string CompileText(Context context, GpuEntry entry, CudaArchitecture architecture)
    {
        using var backend = new PTXBackend(context, new CudaCapabilityContext(architecture), architecture, CudaInstructionSet.ISA_80, null!);
        var description = EntryPointDescription.FromExplicitlyGroupedKernel(entry.Method);
        string text = ((PTXCompiledKernel)backend.Compile(description, entry.Specialization)).PTXAssembly;
        // With lines come the source itself, and a target that allows no optimisation.
        return Annotation().Replace(text, "");
    }

    /// <summary>The passes after ILGPU.</summary>
    internal static PtxKernel Rewrite(string text, CudaEntry entry)
    {
        // ILGPU's name does not tell tiles and types apart.
        string name = NotOfName().Replace(entry.Name, "_").TrimEnd('_');
        text = PtxHeader.Rename(text, name);
        text = PtxHeader.Raise(text, entry.Target, entry.DynamicSharedBytes > 0);
        text = PtxTemplate.Expand(text, PtxHeader.ParameterName(text));
        text = PtxLocalSlots.Promote(text);
        return new PtxKernel(name, text, entry.Threads, entry.DynamicSharedBytes);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_DebugSymbolsMode")]
    private static extern void SetDebugSymbols(ContextProperties properties, DebugSymbolsMode mode);

    [GeneratedRegex(@"\W+")]
    private static partial Regex NotOfName();

    [GeneratedRegex(@"^[ \t]+//.*\n|^\.section\.debug_info.*\n|(?<=^\.target \w+), debug", RegexOptions.Multiline)]
    private static partial Regex Annotation();
}
