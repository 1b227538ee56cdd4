namespace KernelEngine.Tests;

/// <summary>The table of problems on which every kernel of an operation is tested.</summary>
public interface IOperationCases<TProblem> where TProblem : struct, IProblem<TProblem>
{
    static abstract Operation<TProblem> Operation { get; }

    /// <summary>Text forms. Keep each below about 20 MFLOP: the reference is scalar.</summary>
    static abstract IReadOnlyList<string> Problems { get; }
}
