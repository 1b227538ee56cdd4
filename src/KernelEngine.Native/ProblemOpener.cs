namespace KernelEngine.Native;

/// <summary>Reads a problem of an operation whose type is found out on the way.</summary>
internal sealed class ProblemOpener(string text, string? kernelName) : IOperationVisitor<HeldProblem>
{
    public HeldProblem Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
    {
        TProblem problem = ProblemText.Parse<TProblem>(text);
        Kernel<TProblem>? kernel = null;
        if (kernelName is not null)
        {
            kernel = operation.Kernels.FirstOrDefault(k => k.Name == kernelName) ?? throw new ArgumentException(
                $"There is no kernel '{kernelName}' of {operation.Name}. Known: {string.Join(", ", operation.Kernels.Select(k => k.Name))}.");
        }
        return new HeldProblem<TProblem>(operation, problem, kernel);
    }
}
