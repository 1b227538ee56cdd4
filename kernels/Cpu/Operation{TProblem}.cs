namespace KernelEngine;

/// <summary>An operation whose problems are <typeparamref name="TProblem"/>.</summary>
/// <param name="name">The stable name.</param>
/// <param name="summary">What it computes, in one line.</param>
/// <param name="reference">The definition: scalar loops, double accumulation.</param>
/// <param name="plain">The same loops in float32: the error a kernel may have at most, and the naive row of a benchmark.</param>
/// <param name="kernels">The host's kernels in order of preference; the first that supports a problem computes it.</param>
public sealed class Operation<TProblem>(
    string name, string summary, CpuKernel<TProblem> reference, CpuKernel<TProblem> plain, params CpuKernel<TProblem>[] kernels)
    : Operation(name, summary) where TProblem : struct, IProblem<TProblem>
{
    private readonly Kernel<TProblem>[] _kernels = [reference, .. kernels];

    /// <summary>The kernels of other devices, likewise in order of preference.</summary>
    public required IReadOnlyList<Kernel<TProblem>> GpuKernels
    {
        get;
        init => (field, _kernels) = (value, [.. _kernels, .. value]);
    }

    /// <summary>The definition: scalar loops, double accumulation.</summary>
    public CpuKernel<TProblem> Reference { get; } = reference;

    /// <summary>The plain float32 computation in the problem's storage types.</summary>
    public CpuKernel<TProblem> Plain { get; } = plain;

    /// <inheritdoc/>
    public override IReadOnlyList<Kernel<TProblem>> Kernels => _kernels;

    /// <inheritdoc/>
    public override IProblem ParseProblem(string text) => ProblemText.Parse<TProblem>(text);

    /// <inheritdoc/>
    public override TResult Accept<TResult>(IOperationVisitor<TResult> visitor) => visitor.Visit(this);

    /// <summary>The first kernel that runs <paramref name="problem"/> on a device of kind <paramref name="kind"/>.</summary>
    /// <exception cref="NotSupportedException">There is none; the message lists each kernel's reason.</exception>
    public Kernel<TProblem> Select(DeviceKinds kind, in TProblem problem)
    {
        foreach (Kernel<TProblem> kernel in _kernels)
        {
            if ((kernel.Devices & kind) != 0 && kernel.WhyUnavailable is null && kernel.WhyUnsupported(problem) is null)
                return kernel;
        }
        throw NothingSupports(kind, problem);
    }

    private NotSupportedException NothingSupports(DeviceKinds kind, TProblem problem)
    {
        IEnumerable<string> reasons = _kernels.Where(k => (k.Devices & kind) != 0)
            .Select(k => $"{k.Name}: {k.WhyUnavailable ?? k.WhyUnsupported(problem)}");
        string list = string.Join("; ", reasons);
        return new NotSupportedException(
            $"No {Name} kernel on device '{kind}' supports '{problem.ToText()}' ({(list.Length > 0 ? list : "none exists")}).");
    }
}
