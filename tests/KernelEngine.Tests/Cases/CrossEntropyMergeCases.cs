namespace KernelEngine.Tests.Cases;

/// <summary>Parts, and every option of the loss.</summary>
public sealed class CrossEntropyMergeCases : IOperationCases<CrossEntropyMergeProblem>
{
    public static Operation<CrossEntropyMergeProblem> Operation => KernelEngine.CrossEntropy.MergeOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=0 v=3 parts=2", "n=1 v=1 parts=1", "n=100 v=77 parts=7", "n=30 v=50 parts=2 sum", "n=30 v=50 parts=3 none", "n=30 v=50 parts=3 divisor",
        "n=30 v=50 parts=4 smoothing=0.2", "n=30 v=50 parts=4 zloss=0.1 none", "n=30 v=50 parts=4 classweights", "n=30 v=50 parts=4 tokenweights",
        "n=30 v=50 parts=4 smoothing=0.3 zloss=0.1 classweights tokenweights ignore=3", "n=30 v=50 parts=2 seq=6 shift=2 none",
    ];
}
