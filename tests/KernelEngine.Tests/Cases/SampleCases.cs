namespace KernelEngine.Tests.Cases;

/// <summary>Each filter alone and all together, at the ends of its range, on rows around every vector width. Few rows and moderate vocabularies:
/// a uniform number within float32 rounding of a boundary between two tokens may be drawn either way.</summary>
public sealed class SampleCases : IOperationCases<SampleProblem>
{
    public static Operation<SampleProblem> Operation => KernelEngine.Layers.SampleOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=1", "n=2", "n=3", "n=4", "n=5", "n=7", "n=9", "n=15", "n=17", "n=31", "n=33", "n=65", "m=2 n=100", "m=3 n=1000",
        "m=2 n=100 temp=0.1", "m=2 n=100 temp=2", "m=2 n=300 temp=100", "m=3 n=257 temp=1E-30", "m=3 n=257 temp=1E-40",
        "m=2 n=100 topk=1", "m=2 n=100 topk=2", "m=2 n=100 topk=99", "m=2 n=100 topk=100", "m=2 n=100 topk=1000",
        "m=2 n=100 topp=0", "m=2 n=100 topp=0.5", "m=2 n=100 topp=0.99", "m=2 n=100 minp=0.1", "m=2 n=100 minp=1",
        "m=2 n=100 temp=0.5 topk=10 topp=0.8", "m=2 n=100 topk=20 minp=0.2", "m=2 n=100 topp=0.7 minp=0.3",
        "m=2 n=1003 temp=0.9 topk=50 topp=0.9 minp=0.01", "m=1 n=32000 temp=0.8 topk=40 topp=0.95", "m=1 n=32000 topp=0.9",
        "m=2 n=100 temp=0", "m=3 n=1001 temp=0 topk=5 topp=0.1", "m=4 n=0", "m=0 n=16",
    ];
}
