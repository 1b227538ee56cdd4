using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>A problem to compare on, without its data.</summary>
/// <param name="OperationName">The operation.</param>
/// <param name="ProblemText">Its problem's text form.</param>
internal sealed record Case(string OperationName, string ProblemText)
{
    /// <summary>The problems of the report. Single-row weights, and caches but for the shortest, are larger than an L3 cache.</summary>
    public static IReadOnlyList<Case> All { get; } =
    [
        new("linear", "m=1024 n=1024 k=1024"),
        new("linear", "m=2048 n=2048 k=2048"),
        new("linear", "m=1 n=65536 k=1536"),
        new("linear", "m=1 n=65536 k=1536 w=bf16"),
        new("linear", "m=1 n=65536 k=1536 w=f16"),
        new("attention-forward", "h=8 q=512 k=512 d=64"),
        new("attention-forward", "h=8 q=512 k=512 d=64 causal"),
        new("attention-forward", "h=8 q=2048 k=2048 d=64"),
        new("attention-forward", "h=8 q=2048 k=2048 d=64 causal"),
        new("attention-forward", "h=16 q=4096 k=4096 d=128"),
        new("attention-forward", "h=16 q=4096 k=4096 d=128 causal"),
        new("attention-forward", "h=32 kv=8 q=2048 k=2048 d=128"),
        new("attention-forward", "h=32 kv=8 q=2048 k=2048 d=128 causal"),
        new("attention-forward", "q=32768 k=32768 d=64 causal left=255"),
        new("attention-backward", "h=8 q=512 k=512 d=64"),
        new("attention-backward", "h=8 q=512 k=512 d=64 causal"),
        new("attention-backward", "h=8 q=2048 k=2048 d=64"),
        new("attention-backward", "h=8 q=2048 k=2048 d=64 causal"),
        new("attention-backward", "h=8 q=4096 k=4096 d=64"),
        new("attention-backward", "h=8 q=4096 k=4096 d=64 causal"),
        new("attention-decode", "h=32 kv=8 q=1 k=4096 d=128"),
        new("attention-decode", "h=32 kv=8 q=1 k=32768 d=128"),
        new("attention-decode", "h=32 q=1 k=32768 d=128"),
        new("attention-decode", "h=8 q=1 k=1000000 d=128 bf16"),
        new("cross-entropy-forward", "n=1024 v=49152 d=576"),
        new("cross-entropy-forward", "n=2048 v=50257 d=768"),
        new("cross-entropy-forward", "n=512 v=128256 d=2048"),
        new("cross-entropy-backward", "n=4096 v=2048 d=128"), // sizes of a model in which 94 % of the probabilities are below 2^-12
        new("cross-entropy-backward", "n=1024 v=49152 d=576"),
        new("cross-entropy-backward", "n=2048 v=50257 d=768"),
        new("cross-entropy-backward", "n=512 v=128256 d=2048"),
    ];

    /// <summary>Reads operation and problem from one text: <c>linear m=1 n=64 k=64</c>.</summary>
    /// <exception cref="FormatException">It is not an operation with a problem of it.</exception>
    public static Case Parse(string text)
    {
        string[] parts = text.Split(' ', 2, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return parts.Length == 2
            ? new Case(parts[0], parts[1])
            : throw new FormatException($"'{text}' must be an operation and a problem, as in 'linear m=1 n=64 k=64'.");
    }

    /// <summary>Reads the problem, as its times are judged, before anything is measured.</summary>
    /// <exception cref="FormatException">The operation or the problem is malformed.</exception>
    public IProblem ReadProblem() => OperationName switch
    {
        "linear" => Linear.ForwardOperation.ParseProblem(ProblemText),
        "attention-forward" or "attention-decode" => Attention.ForwardOperation.ParseProblem(ProblemText),
        "attention-backward" => new TrainingStep(KernelEngine.ProblemText.Parse<AttentionBackwardProblem>(ProblemText)),
        "cross-entropy-forward" => CrossEntropy.ForwardOperation.ParseProblem(ProblemText),
        "cross-entropy-backward" => CrossEntropy.BackwardOperation.ParseProblem(ProblemText),
        _ => throw NoPeers(),
    };

    /// <summary>Makes the data.</summary>
    public Workload CreateWorkload() => OperationName switch
    {
        "linear" => new LinearWorkload(KernelEngine.ProblemText.Parse<LinearProblem>(ProblemText)),
        "attention-forward" => Attend(Attention.ForwardOperation, isHeadMajor: false),
        "attention-decode" => Attend(Attention.DecodeOperation, isHeadMajor: true),
        "attention-backward" =>
            new AttentionBackwardWorkload(KernelEngine.ProblemText.Parse<AttentionBackwardProblem>(ProblemText)),
        "cross-entropy-forward" => new CrossEntropyWorkload(KernelEngine.ProblemText.Parse<CrossEntropyProblem>(ProblemText)),
        "cross-entropy-backward" =>
            new CrossEntropyBackwardWorkload(KernelEngine.ProblemText.Parse<CrossEntropyBackwardProblem>(ProblemText)),
        _ => throw NoPeers(),
    };

    private FormatException NoPeers() => new($"'{OperationName}' has no peers. Known: linear, attention-forward, "
        + "attention-backward, attention-decode, cross-entropy-forward, cross-entropy-backward.");

    private AttentionWorkload Attend(Operation<AttentionProblem> operation, bool isHeadMajor) =>
        new(operation, KernelEngine.ProblemText.Parse<AttentionProblem>(ProblemText), isHeadMajor);
}
