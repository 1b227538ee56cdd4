namespace KernelEngine.Tests.Cases;

/// <summary>Rows around every vector width in each storage type, one-row tables, many tokens.</summary>
public sealed class EmbeddingCases : IOperationCases<EmbeddingProblem>
{
    public static Operation<EmbeddingProblem> Operation => KernelEngine.Layers.EmbeddingOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "v=1 n=1", "v=7 n=3", "v=7 n=5 w=f16", "v=7 n=7 w=bf16", "t=3 v=9 n=8 w=f16", "t=3 v=9 n=9 w=bf16", "t=4 v=9 n=15 w=f16",
        "t=4 v=9 n=16 w=bf16", "t=4 v=11 n=17", "t=4 v=11 n=17 w=f16", "t=4 v=11 n=33 w=bf16", "t=70 v=1000 n=259",
        "t=131 v=512 n=130 w=bf16", "t=300 v=100 n=64 w=f16", "t=5 v=3 n=0", "t=0 v=9 n=4", "t=0 v=0 n=4",
    ];
}
