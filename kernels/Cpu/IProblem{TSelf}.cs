namespace KernelEngine;

/// <summary>A problem that can be read from its text form.</summary>
public interface IProblem<TSelf> : IProblem where TSelf : struct, IProblem<TSelf>
{
    /// <summary>Takes this problem's fields from <paramref name="text"/>; the caller checks that nothing is left.</summary>
    /// <exception cref="FormatException">A field is missing or not a number.</exception>
    static abstract TSelf Read(ProblemText text);
}
