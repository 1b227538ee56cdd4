namespace KernelEngine.Tests.Cases;

/// <summary>Head and rotary dimensions around every vector width, both pairings, partial rotation, positions inside a longer table.</summary>
public sealed class RotaryCases : IOperationCases<RotaryProblem>
{
    public static Operation<RotaryProblem> Operation => KernelEngine.Layers.RotaryOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Half-split.
        "d=2", "d=4", "d=8", "d=14", "d=16", "d=18", "d=32", "d=34", "d=62", "d=64", "d=66", "d=128", "d=256",
        "t=3 h=4 d=64 start=7 maxpos=20", "t=2 h=3 d=65 rd=64", "t=5 h=2 d=80 rd=20 f16", "t=4 h=3 d=96 rd=46 bf16 start=2",
        "t=129 h=4 d=66", "t=67 h=5 d=50 bf16", "t=40 h=9 d=64 f16",
        // Interleaved.
        "d=2 interleaved", "d=4 interleaved", "d=6 interleaved", "d=8 interleaved", "d=14 interleaved", "d=16 interleaved",
        "d=18 interleaved", "d=30 interleaved", "d=34 interleaved", "d=64 interleaved", "d=128 interleaved",
        "t=3 h=4 d=48 start=11 maxpos=14 interleaved", "t=2 h=3 d=33 rd=10 interleaved", "t=5 h=2 d=80 rd=54 f16 interleaved",
        "t=4 h=3 d=96 rd=38 bf16 start=2 interleaved", "t=131 h=3 d=70 interleaved", "t=67 h=5 d=50 bf16 interleaved",
        // Nothing to turn.
        "t=3 h=2 d=7 rd=0", "t=3 h=0 d=8", "t=0 h=2 d=8 start=4 maxpos=4",
    ];
}
