namespace KernelEngine.Cli;

/// <summary>What <c>inspect</c> is asked for, and the way to the answer.</summary>
/// <param name="Architecture">Null for the one that each entry is written for.</param>
/// <param name="EntryPart">Part of the names of the entries to look at; empty for all.</param>
internal sealed record InspectRequest(string KernelName, string? Architecture, string EntryPart, string? Problem)
{
    private const string PortableArchitecture = "sm_80";

    /// <summary>Compiles every entry asked for and, where the tools are, assembles it.</summary>
    public InspectResult Run()
    {
        Kernel kernel = Find(out Operation operation);
        IProblem? problem = Problem is null ? null : operation.Accept(new Supported(kernel, Problem));
        (DeviceCode Code, string Architecture)[] codes = [.. DeviceCode.Compile(kernel, EntryPart).Select(code => (code, ArchitectureFor(code)))];
        InspectedEntry[] entries = InspectAll(codes);
        return new InspectResult(KernelName, DeviceCode.WhyCannotAssemble, entries, problem is null ? null : WorkOf(problem, codes));
    }

    /// <summary>Compiles the one entry asked for.</summary>
    /// <param name="hasLines">With the lines of its source.</param>
    /// <exception cref="ArgumentException">There are several.</exception>
    public DeviceCode CompileOne(bool hasLines = false)
    {
        Kernel kernel = Find(out _);
        string[] names = Matching(kernel);
        return names.Length == 1 ? DeviceCode.Compile(kernel, EntryPart, hasLines)[0]
            : throw new ArgumentException($"{names.Length} entries of {KernelName} match; --entry with more of a name picks one: {string.Join("; ", names)}.");
    }

    /// <summary>The machine instructions of the one entry asked for.</summary>
    /// <param name="hasLines">With the lines of its source.</param>
    /// <exception cref="NotSupportedException">NVIDIA's tools are absent.</exception>
    public string Disassemble(bool hasLines = false)
    {
        if (DeviceCode.WhyCannotAssemble is { } reason)
            throw new NotSupportedException(reason + ".");
        DeviceCode code = CompileOne(hasLines);
        return code.Disassemble(ArchitectureFor(code));
    }

    private Kernel Find(out Operation operation)
    {
        (operation, Kernel kernel) = OperationList.FindKernel(KernelName);
        return Matching(kernel).Length > 0 ? kernel
            : throw new ArgumentException($"No entry of {KernelName} has '{EntryPart}' in its name: {string.Join("; ", DeviceCode.NamesOf(kernel))}.");
    }

    private string[] Matching(Kernel kernel) =>
        [.. DeviceCode.NamesOf(kernel).Where(name => name.Contains(EntryPart, StringComparison.OrdinalIgnoreCase))];

    private string ArchitectureFor(DeviceCode code)
    {
        string architecture = Architecture ?? code.Target ?? PortableArchitecture;
        return code.WhyNotFor(architecture) is { } reason
            ? throw new ArgumentException($"{code.Name} {reason} and does not assemble for {architecture}.") : architecture;
    }

    private static InspectedEntry[] InspectAll((DeviceCode Code, string Architecture)[] codes)
    {
        try
        {
            return [.. codes.AsParallel().AsOrdered().Select(pair => Inspect(pair.Code, pair.Architecture))];
        }
        catch (AggregateException e)
        {
            throw e.InnerExceptions[0];
        }
    }

    private static InspectedEntry Inspect(DeviceCode code, string architecture)
    {
        InspectedAssembly? inspected = null;
        if (DeviceCode.WhyCannotAssemble is null)
        {
            AssembledPtx assembled = code.Assemble(architecture);
            inspected = new InspectedAssembly(
                architecture, assembled.Registers, assembled.SpillStoreBytes + assembled.SpillLoadBytes, assembled.StackBytes,
                InspectResult.CountedInstructions.ToDictionary(name => name, assembled.Count),
                Occupancy.Estimate(architecture, assembled.Registers, assembled.SharedBytes + code.DynamicSharedBytes, code.Threads));
        }
        return new InspectedEntry(
            code.Name, code.Target, code.Threads, code.StaticSharedBytes, code.DynamicSharedBytes, code.Ptx.Length, inspected);
    }

    private static InspectedWork WorkOf(IProblem problem, (DeviceCode Code, string Architecture)[] codes)
    {
        string architecture = codes.Max(pair => pair.Architecture)!;
        bool usesTensorCores = codes.Any(pair => pair.Code.UsesTensorCores);
        return new InspectedWork(
            problem.ToText(), problem.Flops, problem.Bytes, problem.Flops / problem.Bytes,
            InspectedRoof.Over(architecture, usesTensorCores, problem.Flops, problem.Bytes));
    }

    private sealed class Supported(Kernel kernel, string text) : IOperationVisitor<IProblem>
    {
        public IProblem Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            var problem = ProblemText.Parse<TProblem>(text);
            return operation.Kernels.First(k => k == kernel).WhyUnsupported(problem) is { } reason
                ? throw new ArgumentException($"{kernel.Name} cannot compute '{problem.ToText()}': {reason}.") : problem;
        }
    }
}
