namespace KernelEngine.Tests.SparseAttention;

/// <summary>Draws small problems of choosing keys by codes: sizes around words of bits and widths of vectors, and any options that go together.</summary>
internal sealed class RandomSparseSelection(int seed) : RandomDraw(seed)
{
    /// <summary>The operations that can be drawn.</summary>
    public static IReadOnlyList<string> Operations { get; } = ["sparse-select", "sparse-encode", "sparse-select", "sparse-codebook"];

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
        _ => throw new ArgumentOutOfRangeException(nameof(operation)),
    };

    private SparseSelectProblem Select()
    {
        int kvHeads = From(1, 3), rows = Chance(90) ? From(1, 70) : From(0, 1), keys = Chance(40) ? rows : Chance(80) ? From(0, 140) : From(200, 1100);
        int capacity = Chance(20) ? From(0, 2) : From(1, keys + 9), sinks = Chance(25) ? From(0, capacity / 2) : 0;
        return new SparseSelectProblem(
            From(1, 3), kvHeads * From(1, 4), kvHeads, rows, keys, Pick(1, 2, 4, 7, 8, 8, 8, 9, 10, 15, 16, 16, 24, 32), capacity, Chance(60), Chance(30), sinks,
            Chance(40) ? From(0, capacity - sinks) : 0, Chance(25), Chance(30));
    }

    private SparseEncodeProblem Encode(bool isEuclidean)
    {
        int headDim = Pick(1, 3, 8, 16, 17, 31, 32, 40, 64, 64, 80, 100, 128, 200, 256);
        return new SparseEncodeProblem(
            From(1, 3), Chance(95) ? From(1, 50) : 0, From(1, 4), headDim, Pick(1, 2, 4, 8, 8, 8, 12, 16, 24, 32, 64), isEuclidean, FloatType());
    }
}
