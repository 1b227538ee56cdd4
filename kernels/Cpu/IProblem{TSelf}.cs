using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>A problem that can be read from its text form.</summary>
public interface IProblem<TSelf> : IProblem where TSelf : struct, IProblem<TSelf>
{
    /// <summary>Takes this problem's fields from <paramref name="text"/>; the caller checks that nothing is left.</summary>
    /// <exception cref="FormatException">A field is missing or not a number.</exception>
    static abstract TSelf Read(ProblemText text);

    /// <summary>
    /// Null when the integers that the operands hold (offsets, lengths, page numbers) stay inside the other operands, else a
    /// sentence that says which does not. The host's devices ask before they compute; on others the numbers are trusted.
    /// </summary>
    static virtual string? FindContentError(in TSelf problem, ReadOnlySpan<RawView> operands) => null;

    /// <summary>The same for a host's device that may use <paramref name="workers"/>: for integers that take long to read.</summary>
    static virtual string? FindContentError(in TSelf problem, ReadOnlySpan<RawView> operands, WorkerPool workers) =>
        TSelf.FindContentError(problem, operands);
}
