using System.Globalization;

namespace KernelEngine.Tests.SparseAttention;

/// <summary>
/// Draws small problems of choosing keys by codes, of attention over lists and of routed layers: sizes around words of bits, groups and widths
/// of vectors, and any options that go together.
/// </summary>
internal sealed class RandomSparse(int seed) : RandomDraw(seed)
{
    /// <summary>The operations that can be drawn.</summary>
    public static IReadOnlyList<string> Operations { get; } =
    [
        "sparse-select", "sparse-encode", "sparse-select", "sparse-codebook", "sparse-attention-forward", "sparse-attention-backward",
        "sparse-attention-selected", "sparse-attention-backward", "feed-forward-forward", "feed-forward-backward", "feed-forward-route",
        "feed-forward-route-backward",
    ];

    /// <summary>The text form of a problem without error.</summary>
    public string Draw(string operation) => operation switch
    {
        "sparse-select" => Valid(Select),
        "sparse-encode" => Valid(() => Encode(Chance(40))),
        "sparse-codebook" => Valid(() =>
        {
            SparseEncodeProblem rows = Encode(false);
            return new SparseCodebookProblem(
                rows.BatchSize, rows.Tokens, rows.NumHeads, rows.HeadDim, rows.SubVectorSize, Chance(60), rows.Type);
        }),
        "sparse-attention-forward" => Valid(Attention),
        "sparse-attention-selected" => Valid(Selected),
        "sparse-attention-backward" => Valid(() => new SparseAttentionBackwardProblem(Attention(), Chance(40))),
        "feed-forward-forward" => Valid(() => ProblemText.Parse<FeedForwardProblem>(FeedForward())),
        "feed-forward-backward" => Valid(() => ProblemText.Parse<FeedForwardBackwardProblem>(FeedForward() + (Chance(50) ? " units" : ""))),
        "feed-forward-route" => Valid(() => ProblemText.Parse<FeedForwardRouteProblem>(Route())),
        "feed-forward-route-backward" => Valid(() => ProblemText.Parse<FeedForwardRouteBackwardProblem>(Route() + (Chance(60) ? " gradgates" : ""))),
        _ => throw new ArgumentOutOfRangeException(nameof(operation)),
    };

    private SparseAttentionProblem Attention()
    {
        int kvHeads = From(1, 3), heads = kvHeads * From(1, 4), headDim = Pick(1, 3, 8, 16, 17, 31, 32, 40, 64, 64, 64, 80, 128, 200, 256);
        int keys = Chance(70) ? From(0, 150) : From(200, 2500), rows = Chance(80) ? From(0, 60) : From(200, 530);
        return new SparseAttentionProblem(
            From(1, 3), heads, kvHeads, Chance(50) ? heads : Chance(50) ? kvHeads : 1, rows, keys, headDim,
            Chance(80) ? headDim : From(1, 256), Chance(60) ? From(0, 40) : From(0, keys + 9), Chance(80) ? null : Uniform() - 0.5f, FloatType())
        {
            LogitSoftCap = Chance(25) ? 1f + 20f * Uniform() : 0f,
            ColumnType = ColumnType(),
        };
    }

    private SelectedAttentionProblem Selected()
    {
        SparseAttentionProblem attention = Attention();
        return new SelectedAttentionProblem(Select(), attention.HeadDim, attention.ValueHeadDim, attention.SoftmaxScale, attention.Type)
        {
            LogitSoftCap = attention.LogitSoftCap,
        };
    }

    private DataType ColumnType() => Chance(50) ? DataType.UInt16 : DataType.Int32;

    private string FeedForward()
    {
        int blocks = Pick(1, 2, 3, 4, 4, 8, 17);
        return string.Create(CultureInfo.InvariantCulture, $"t={From(0, 90)} d={From(1, 100)} f={blocks * From(1, 30)} g={blocks} active={From(1, blocks)}")
            + Pick("", " upbias", " act=relu", " act=relu upbias", " act=swiglu") + Pick("", " gating=post") + Pick("", " downbias") + " " + FloatType().ToText();
    }

    private string Route()
    {
        int blocks = From(1, 40);
        return string.Create(CultureInfo.InvariantCulture, $"t={From(0, 150)} d={From(1, 100)} g={blocks} active={From(1, blocks)}")
            + Pick("", " bias") + Pick("", " balance=0.01", " balance=1") + " " + FloatType().ToText();
    }

    private SparseSelectProblem Select()
    {
        int kvHeads = From(1, 3), rows = Chance(90) ? From(1, 70) : From(0, 1), keys = Chance(40) ? rows : Chance(80) ? From(0, 140) : From(200, 1100);
        int capacity = Chance(20) ? From(0, 2) : From(1, keys + 9), sinks = Chance(25) ? From(0, capacity / 2) : 0;
        return new SparseSelectProblem(
            From(1, 3), kvHeads * From(1, 4), kvHeads, rows, keys, Pick(1, 2, 4, 7, 8, 8, 8, 9, 10, 15, 16, 16, 24, 32), capacity, Chance(60), Chance(30), sinks,
            Chance(40) ? From(0, capacity - sinks) : 0, Chance(25), Chance(30))
        {
            ColumnType = ColumnType(),
        };
    }

    private SparseEncodeProblem Encode(bool isEuclidean)
    {
        int headDim = Pick(1, 3, 8, 16, 17, 31, 32, 40, 64, 64, 80, 100, 128, 200, 256);
        return new SparseEncodeProblem(
            From(1, 3), Chance(95) ? From(1, 50) : 0, From(1, 4), headDim, Pick(1, 2, 4, 8, 8, 8, 12, 16, 24, 32, 64), isEuclidean, FloatType());
    }
}
