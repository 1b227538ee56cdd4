namespace KernelEngine;

/// <summary>
/// What every kernel of an operation must compute for one problem and one seed: the reference's outputs, and those of the
/// plain float32 computation whose error sets the bar. Made by <see cref="Verifier.Expect"/>, shared between kernels.
/// </summary>
public sealed class Expectation<TProblem> where TProblem : struct, IProblem<TProblem>
{
    internal Expectation(Operation<TProblem> operation, TProblem problem, int seed, double[][] reference, double[][] plain) =>
        (Operation, Problem, Seed, Reference, Plain) = (operation, problem, seed, reference, plain);

    /// <summary>The operation.</summary>
    public Operation<TProblem> Operation { get; }

    /// <summary>What is computed.</summary>
    public TProblem Problem { get; }

    /// <summary>Seed of the inputs.</summary>
    public int Seed { get; }

    internal double[][] Reference { get; }

    internal double[][] Plain { get; }
}
