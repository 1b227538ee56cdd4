namespace KernelEngine.Tests.Cases;

/// <summary>Sizes around the edges of tiles and blocks, every option alone and several at once, shards, orders of classes.</summary>
public sealed class CrossEntropyBackwardCases : IOperationCases<CrossEntropyBackwardProblem>
{
    public static Operation<CrossEntropyBackwardProblem> Operation => KernelEngine.CrossEntropy.BackwardOperation;

    public static IReadOnlyList<string> Problems { get; } =
    [
        // Sizes.
        "n=0 v=5 d=4", "n=1 v=1 d=3", "n=1 v=1000 d=40", "n=7 v=17 d=1", "n=3 v=300 d=0", "n=6 v=64 d=64", "n=13 v=65 d=130", "n=97 v=129 d=64",
        "n=100 v=257 d=48", "n=20 v=1500 d=70", "n=3 v=150 d=2100", "n=193 v=70 d=31", "n=40 v=513 d=130", "n=252 v=107 d=123 bias",
        // Storage.
        "n=33 v=200 d=100 bf16", "n=33 v=200 d=100 f16", "n=10 v=90 d=315 bf16 bias biastype=f16", "n=97 v=140 d=77 f16 bias biastype=bf16",
        // The logits' options.
        "n=30 v=130 d=20 bias", "n=30 v=130 d=20 softcap=20", "n=30 v=130 d=20 temperature=0.7", "n=30 v=130 d=20 bias softcap=30 temperature=2",
        // The loss's options.
        "n=30 v=130 d=20 sum", "n=30 v=130 d=20 none", "n=30 v=130 d=20 divisor", "n=30 v=130 d=20 smoothing=0.2", "n=30 v=130 d=20 zloss=0.01",
        "n=30 v=130 d=20 classweights", "n=30 v=130 d=20 tokenweights", "n=30 v=130 d=20 classweights smoothing=0.3", "n=30 v=130 d=20 ignore=5",
        "n=30 v=130 d=20 gradlse", "n=30 v=130 d=20 gradentropy", "n=30 v=130 d=20 none gradlse gradentropy softcap=10",
        "n=50 v=260 d=40 bias softcap=25 temperature=0.9 smoothing=0.1 zloss=0.001 classweights tokenweights none gradlse bf16",
        "n=50 v=260 d=40 smoothing=0.1 zloss=0.001 classweights tokenweights divisor gradentropy bias", "n=50 v=60 d=40 smoothing=0.9 tokenweights sum f16",
        // Labels of other rows.
        "n=30 v=50 d=20 shift=1", "n=30 v=50 d=20 seq=6 shift=1 none", "n=30 v=50 d=20 seq=10 shift=9 none", "n=40 v=50 d=20 seq=8 shift=2 tokenweights bias",
        // Shards.
        "n=30 v=130 d=20 shard=50 first=80 bias", "n=30 v=130 d=20 shard=0 first=7", "n=40 v=600 d=33 shard=300 first=100 smoothing=0.1 classweights seq=20 shift=1 bf16",
        "n=30 v=130 d=20 shard=60 first=3 divisor f16",
        // Orders, and filters that leave out nothing that shows.
        "n=30 v=330 d=20 order", "n=100 v=130 d=70 order bias bf16", "n=30 v=330 d=20 filter=1e-9 order bias", "n=100 v=330 d=20 filter=1e-9 fullhidden",
        "n=30 v=330 d=20 filter=1e-9 fullclassifier smoothing=0.1 zloss=0.01",
    ];
}
