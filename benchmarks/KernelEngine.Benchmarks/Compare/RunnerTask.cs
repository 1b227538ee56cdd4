namespace KernelEngine.Benchmarks.Compare;

/// <summary>One task of generation, measured.</summary>
/// <param name="Name">What is done.</param>
/// <param name="Type">How the weights are stored.</param>
/// <param name="Tokens">Tokens of one call.</param>
/// <param name="Flops">Floating-point operations of one call.</param>
/// <param name="WeightBytes">Bytes of weights that one call must read.</param>
/// <param name="Run">The call.</param>
internal sealed record RunnerTask(string Name, DataType Type, int Tokens, double Flops, double WeightBytes, Action Run)
{
    public Row Row { get; } = new("KernelEngine");
}
