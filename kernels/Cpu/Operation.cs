namespace KernelEngine;

/// <summary>What is computed: a mathematical definition, the reference that implements it, and the kernels that compute it fast.</summary>
public abstract class Operation
{
    private protected Operation(string name, string summary) => (Name, Summary) = (name, summary);

    /// <summary>The stable name, as in <c>attention-forward</c>.</summary>
    public string Name { get; }

    /// <summary>What it computes, in one line.</summary>
    public string Summary { get; }

    /// <summary>Every kernel, the reference first, then in order of preference.</summary>
    public abstract IReadOnlyList<Kernel> Kernels { get; }

    /// <summary>Small problems that touch every feature: what <c>verify</c> runs when none is named.</summary>
    public required IReadOnlyList<string> Examples { get; init; }

    /// <summary>Problems worth timing: what <c>bench</c> runs when none is named.</summary>
    public required IReadOnlyList<string> Benchmarks { get; init; }

    /// <summary>Reads a problem of this operation.</summary>
    /// <exception cref="FormatException">The text is not a valid problem; the message says what would be.</exception>
    public abstract IProblem ParseProblem(string text);

    /// <summary>Calls <paramref name="visitor"/> with this operation's problem type.</summary>
    public abstract TResult Accept<TResult>(IOperationVisitor<TResult> visitor);

    /// <inheritdoc/>
    public override string ToString() => Name;
}
