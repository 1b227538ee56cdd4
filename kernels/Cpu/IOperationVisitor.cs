namespace KernelEngine;

/// <summary>Code that works on any operation and needs its problem type: verification, benchmarks, the command line.</summary>
public interface IOperationVisitor<out TResult>
{
    /// <summary>Called with the operation under its full type.</summary>
    TResult Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>;
}
