namespace KernelEngine.Tests.Cases;

/// <summary>Memory for all positions, for some of them and for none; every option.</summary>
public sealed class CrossEntropyTrainingCases : IOperationCases<CrossEntropyTrainingProblem>
{
    public static Operation<CrossEntropyTrainingProblem> Operation => KernelEngine.CrossEntropy.TrainingOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        "n=0 v=5 d=4", "n=1 v=1 d=3 workspace=4", "n=7 v=17 d=1", "n=97 v=129 d=64 workspace=8", "n=193 v=70 d=31 workspace=3", "n=40 v=513 d=130 workspace=8",
        "n=20 v=1500 d=70 workspace=8", "n=3 v=300 d=0 workspace=4", "n=252 v=507 d=23 bias workspace=4", "n=300 v=1000 d=20 workspace=2",
        "n=300 v=1000 d=20 workspace=2 bf16 bias", "n=300 v=1000 d=20 workspace=8 f16", "n=33 v=200 d=100 bf16 workspace=8", "n=90 v=190 d=40 f16",
        "n=30 v=130 d=20 bias softcap=30 temperature=2 workspace=8", "n=30 v=130 d=20 sum workspace=8", "n=30 v=130 d=20 divisor workspace=8",
        "n=30 v=130 d=20 smoothing=0.2 classweights workspace=8", "n=30 v=130 d=20 zloss=0.01 tokenweights workspace=8", "n=30 v=130 d=20 ignore=5 workspace=8",
        "n=200 v=1160 d=20 bias softcap=25 temperature=0.9 smoothing=0.1 zloss=0.001 classweights tokenweights bf16 workspace=2",
        // Logits of some positions lie in the classifier's gradient: with a whole last block of classes, with part of one, in narrow rows.
        "n=120 v=4992 d=64 workspace=2", "n=120 v=5000 d=64 bias smoothing=0.1 workspace=2", "n=92 v=5000 d=64 bf16 softcap=25 workspace=2",
        "n=30 v=50 d=20 seq=6 shift=1 workspace=8", "n=40 v=50 d=20 seq=8 shift=2 tokenweights bias",
    ];
}
