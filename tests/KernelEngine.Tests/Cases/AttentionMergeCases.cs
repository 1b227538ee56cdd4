namespace KernelEngine.Tests.Cases;

/// <summary>Row lengths around every vector width, storage types of both sides, nothing to merge.</summary>
public sealed class AttentionMergeCases : IOperationCases<AttentionMergeProblem>
{
    public static Operation<AttentionMergeProblem> Operation => KernelEngine.Attention.MergeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "q=1 d=3", "q=1 d=8", "q=1 d=15", "h=2 q=3 d=16", "h=2 q=3 d=17", "b=2 h=3 q=5 d=64", "h=3 q=2 d=255", "h=3 q=2 d=256", "b=3 h=4 q=130 d=80",
        "h=2 q=7 d=40 f16", "h=2 q=7 d=41 bf16", "b=2 h=2 q=70 d=96 bf16", "q=9 d=24 othertype=bf16", "q=9 d=24 othertype=f16", "q=9 d=33 f16 othertype=f32",
        "q=9 d=33 bf16 othertype=f32", "q=9 d=5 f16 othertype=bf16", "q=9 d=5 bf16 othertype=f16", "b=0 h=2 q=3 d=8", "h=0 q=3 d=8",
    ];
}
