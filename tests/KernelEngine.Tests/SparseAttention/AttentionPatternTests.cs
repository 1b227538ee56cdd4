using DenseAttention = KernelEngine.Attention;

namespace KernelEngine.Tests.SparseAttention;

/// <summary>
/// Each published pattern against its definition, written down here once more: pair by pair, and through attention with its block mask or
/// its lists of keys against dense attention with a boolean mask.
/// </summary>
public sealed class AttentionPatternTests
{
    // Odd lengths: no block size divides them.
    private const int Length = 203, NumHeads = 4, NumKvHeads = 2, HeadDim = 16;

    /// <summary>What row i of query head h sees, and the pattern that should say so.</summary>
    public sealed record Case(string Name, Func<AttentionPattern> Create, Func<int, int, int, bool> Sees)
    {
        public override string ToString() => Name;
    }

    public static IReadOnlyList<Case> Cases { get; } =
    [
        new("window", () => AttentionPatterns.SlidingWindow(Length, 37), (_, i, j) => j <= i && i - j < 37),
        new("window and sinks", () => AttentionPatterns.SlidingWindow(Length, 50, 5, 16), (_, i, j) => j <= i && (i - j < 50 || j < 5)),
        new("window longer than the sequence", () => AttentionPatterns.SlidingWindow(Length, 1000, 64), (_, i, j) => j <= i),
        new("moa", () => AttentionPatterns.MixtureOfSpans(Length, [100, 130, 1000, -5], 32), (h, i, j) =>
            j <= i && (j < 32 || i - j < (h switch { 0 or 3 => 128, 1 => 192, _ => Length + 32 }) - 32)),
        new("s2-attn", () => AttentionPatterns.ShiftedGroups(Length, 64), (h, i, j) =>
            j <= i && (h < NumHeads / 2 ? i / 64 == j / 64 : (i + 32) / 64 == (j + 32) / 64)),
        new("sf-attn", () => AttentionPatterns.ShiftedGroups(Length, 48, 4), (h, i, j) =>
            j <= i && (j < 4 || (h < NumHeads / 2 ? i / 48 == j / 48 : (i + 24) / 48 == (j + 24) / 48))),
        new("longformer", () => AttentionPatterns.Longformer(Length, 9, [0, 77, 150]), (_, i, j) =>
            Math.Abs(i - j) <= 9 || i is 0 or 77 or 150 || j is 0 or 77 or 150),
        new("longformer, causal blocks of 16", () => AttentionPatterns.Longformer(Length, 2, [0, 5], 16, isCausal: true), (_, i, j) =>
            j <= i && (i / 16 - j / 16 <= 2 || i / 16 is 0 or 5 || j / 16 is 0 or 5)),
        new("dilated", () => AttentionPatterns.Longformer(Length, 8, [], dilation: 3), (_, i, j) => Math.Abs(i - j) <= 24 && (i - j) % 3 == 0),
        new("strided", () => AttentionPatterns.Strided(Length, 13), (_, i, j) => j <= i && (i - j < 13 || (i - j) % 13 == 0)),
        new("bigbird", () => AttentionPatterns.BigBird(Length, 16, numHeads: NumHeads), Drawn(() => AttentionPatterns.BigBird(Length, 16, numHeads: NumHeads), false)),
        new("bigbird, causal", () => AttentionPatterns.BigBird(Length, 16, isCausal: true, seed: 3), Drawn(() => AttentionPatterns.BigBird(Length, 16, isCausal: true, seed: 3), true)),
        new("top-k", () => DynamicPatterns.TopK(Scores(), new PatternShape(NumHeads, Length, Length) { IsCausal = true }, 20), (h, i, j) =>
            j <= i && Enumerable.Range(0, i + 1).Count(other => Score(h, i, other) > Score(h, i, j) || (Score(h, i, other) == Score(h, i, j) && other > j)) < 20),
        new("long heads", LongHeads, SeesByLongHeads),
    ];

    private static IEnumerable<TestCaseData> OnDevices =>
        from device in TestDevices.Names
        where device != "simulator" && TestDevices.TryGet(device).Device is not null // too slow
        from pattern in Cases
        select TestDevices.CategoryOf(device) is { } category
            ? new TestCaseData(pattern, device).SetCategory(category)
            : new TestCaseData(pattern, device);

    [TestCaseSource(nameof(Cases))]
    public void SeesWhatThePaperSays(Case pattern)
    {
        AttentionPattern actual = pattern.Create();
        long pairs = 0;
        for (int h = 0; h < actual.Shape.NumHeads; h++)
        {
            int queryHead = h * (NumHeads / actual.Shape.NumHeads);
            for (int i = 0; i < Length; i++)
            {
                int[] expected = [.. Enumerable.Range(0, Length).Where(j => pattern.Sees(queryHead, i, j))];
                Assert.That(Enumerable.Range(-1, Length + 2).Where(j => actual.Sees(0, h, i, j)), Is.EqualTo(expected), $"head {h}, row {i}");
                Assert.That(actual.RunsOf(0, h, i).SelectMany(run => Enumerable.Range(run.First, run.End - run.First)), Is.EqualTo(expected));
                pairs += expected.Length;
            }
        }
        Assert.That(actual.Pairs, Is.EqualTo(pairs));
        double dense = actual.Shape.NumHeads * (actual.Shape.IsCausal ? Length * (Length + 1) / 2.0 : (double)Length * Length);
        Assert.That(actual.Density, Is.EqualTo(pairs / dense).Within(1e-12));
    }

    [TestCaseSource(nameof(OnDevices))]
    public void EqualsDenseAttentionWithTheMask(Case pattern, string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using var call = new Call(device, Length);
        bool[] mask = [.. from h in Enumerable.Range(0, NumHeads) from i in Enumerable.Range(0, Length) from j in Enumerable.Range(0, Length) select pattern.Sees(h, i, j)];
        using Tensor dense = Tensor.From<bool>(device, mask, 1, NumHeads, Length, Length);
        float[][] expected = call.Run(AttentionOptions.Default, new AttentionInputs { Mask = dense });
        AttentionPattern actual = pattern.Create();
        using PatternMask allocated = actual.Allocate(device, 1, NumHeads);
        float[][] results = call.Run(allocated.Options, allocated.Inputs);
        for (int r = 0; r < expected.Length; r++)
            Assert.That(results[r], Is.EqualTo(expected[r]).Within(2e-5), Call.Names[r]);
    }

    [TestCaseSource(nameof(Cases))]
    public void ListsOfItsKeysGiveTheSame(Case pattern)
    {
        Device device = TestDevices.Get("cpu");
        using var call = new Call(device, Length);
        AttentionPattern actual = pattern.Create();
        using PatternMask mask = actual.Allocate(device, 1, NumHeads);
        (Tensor columns, Tensor counts) = actual.ToColumnLists(device);
        using (columns)
        using (counts)
            Assert.That(call.RunSparse(columns, counts), Is.EqualTo(call.Run(mask.Options, mask.Inputs)[0]).Within(2e-5));
    }

    [Test]
    public void BlocksOfBigBirdAreThoseCountedByHand()
    {
        // 16 blocks of 64, by rows: the first and the last see all 16. Rows 1 and 14 see 4 of window and globals (0, 1, 2, 15), the twelve
        // others 5 (0, 15, and three neighbours); and 3 random ones each.
        AttentionPattern pattern = AttentionPatterns.BigBird(1024, 64, 3, 3, seed: 5, numHeads: 2);
        for (int h = 0; h < 2; h++)
        {
            for (int row = 0; row < 16; row++)
            {
                int[] blocks = pattern.BlocksOf(0, h, row).ToArray();
                Assert.That(blocks, Has.Length.EqualTo(row is 0 or 15 ? 16 : row is 1 or 14 ? 7 : 8));
                Assert.That(blocks, Is.SupersetOf(new[] { 0, 15, row, Math.Max(0, row - 1), Math.Min(15, row + 1) }.Distinct()));
            }
        }
        Assert.That(pattern.Pairs, Is.EqualTo(2 * 64 * 64 * (2 * 16 + 2 * 7 + 12 * 8)));
        Assert.That(Enumerable.Range(0, 16).Any(row => !pattern.BlocksOf(0, 0, row).SequenceEqual(pattern.BlocksOf(0, 1, row))), "heads draw for themselves");

        // Causal: row r has r + 1 blocks; up to row 5 the window, the first block and three random ones are all of them.
        AttentionPattern causal = AttentionPatterns.BigBird(1024, 64, 3, 3, isCausal: true);
        int[] counts = [.. Enumerable.Range(0, 16).Select(row => causal.BlocksOf(0, 0, row).Length)];
        Assert.That(counts, Is.EqualTo((int[])[1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 16]));
    }

    [Test]
    public void TwoLayersOfShiftedGroupsReachAGroupAndAHalf()
    {
        AttentionPattern pattern = AttentionPatterns.ShiftedGroups(256, 64);
        int farthest = 0;
        for (int i = 0; i < 256; i++)
        {
            for (int via = 0; via <= i; via++)
            {
                if (!pattern.Sees(0, 0, i, via) && !pattern.Sees(0, 1, i, via))
                    continue;
                for (int j = 0; j <= via; j++)
                {
                    if (pattern.Sees(0, 0, via, j) || pattern.Sees(0, 1, via, j))
                        farthest = Math.Max(farthest, i - j);
                }
            }
        }
        Assert.That(farthest, Is.EqualTo(64 + 32 - 1));
    }

    [TestCase(2, 1)]
    [TestCase(1, 1)]
    [TestCase(0, 3)]
    [TestCase(-1, 0)]
    public void ListsThatDoNotRiseAreRefused(int first, int second)
    {
        var shape = new PatternShape(1, 3, 3);
        Assert.That(() => new AttentionPattern(shape, (_, _, _) => [first, second]), Throws.ArgumentException.With.Message.Contains("must rise"));
    }

    [Test]
    public void BlocksThatCutASinkOrAGroupAreRefused()
    {
        Assert.That(() => AttentionPatterns.ShiftedGroups(256, 64, 4, 8), Throws.ArgumentException.With.Message.Contains("must divide"));
        Assert.That(() => AttentionPatterns.ShiftedGroups(256, 72, 0, 8), Throws.ArgumentException);
        Assert.That(() => AttentionPatterns.BigBird(256, windowBlocks: 2), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => DynamicPatterns.TopK(new float[3], new PatternShape(1, 2, 2), 1), Throws.ArgumentException);
        Assert.That(() => AttentionPatterns.SlidingWindow(100, 10).Allocate(TestDevices.Get("cpu"), 1, 4), Throws.Nothing);
        Assert.That(() => AttentionPatterns.ShiftedGroups(256, 64).Allocate(TestDevices.Get("cpu"), 1, 3), Throws.ArgumentException);
    }

    [Test]
    public void LastRowsSeeTheLastKeys()
    {
        var shape = new PatternShape(1, 2, 10, 1, 4) { IsCausal = true };
        var pattern = new AttentionPattern(shape, (_, _, _) => [1, 2]);
        Assert.That(Enumerable.Range(0, 10).Where(j => pattern.Sees(0, 0, 0, j)), Is.EqualTo((int[])[4, 5, 6, 7, 8]));
        Assert.That(Enumerable.Range(0, 10).Where(j => pattern.Sees(0, 0, 1, j)), Is.EqualTo((int[])[4, 5, 6, 7, 8, 9]));
    }

    [Test]
    public void ARepresentativeOfEqualKeysIsTheKey()
    {
        // Two chunks of 3 of the keys (1, 2) and (−1, 0.5), whatever queries and values are.
        float[] key = [1, 2, 1, 2, 1, 2, -1, 0.5f, -1, 0.5f];
        float[] kappa = DynamicPatterns.ChunkRepresentatives([.. Enumerable.Range(0, 10).Select(i => (float)i)], key, key, 5, 1, 3);
        Assert.That(kappa, Is.EqualTo((float[])[1, 2, -1, 0.5f]).Within(1e-6));
    }

    // A block is seen as a whole: which ones were drawn is what the pattern says, the rest is the definition.
    private static Func<int, int, int, bool> Drawn(Func<AttentionPattern> create, bool isCausal)
    {
        AttentionPattern pattern = create();
        int last = (Length - 1) / 16;
        return (h, i, j) =>
        {
            int row = i / 16, key = j / 16;
            if (isCausal && j > i)
                return false;
            return row == 0 || row == last || key == 0 || key == last || Math.Abs(row - key) <= 1
                || pattern.BlocksOf(0, pattern.Shape.NumHeads == 1 ? 0 : h, row).Contains(key);
        };
    }

    // Coarse, so that there are ties.
    private static float Score(int h, int i, int j) => (h * 31 + i * 17 + j * 29) % 23;

    private static float[] Scores() =>
        [.. from h in Enumerable.Range(0, NumHeads) from i in Enumerable.Range(0, Length) from j in Enumerable.Range(0, Length) select Score(h, i, j)];

    private static float[] Numbers(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static readonly float[] s_query = Numbers(Length * NumHeads * HeadDim, 11), s_representatives = Numbers(13 * NumHeads * HeadDim, 12);

    private static AttentionPattern LongHeads() => DynamicPatterns.LongHeads(s_query, s_representatives, Length, Length, NumHeads, 16, 5);

    private static bool SeesByLongHeads(int h, int i, int j)
    {
        int own = i / 16, chunk = j / 16;
        if (j > i)
            return false;
        if (chunk == 0 || chunk >= own - 1)
            return true;
        return Enumerable.Range(1, own - 2).Count(other => Product(other) > Product(chunk)) < 2; // two besides the first, the last and its own

        double Product(int c) => Enumerable.Range(0, HeadDim).Sum(d =>
            (double)s_query[(i * NumHeads + h) * HeadDim + d] * s_representatives[(c * NumHeads + h) * HeadDim + d]);
    }

    // One problem's tensors: forward and backward with a mask.
    private sealed class Call(Device device, int length) : IDisposable
    {
        public static readonly string[] Names = ["output", "lse", "gradient of the query", "of the key", "of the value"];

        private readonly Tensor _query = Random(device, 1, length, NumHeads), _key = Random(device, 2, length, NumKvHeads),
            _value = Random(device, 3, length, NumKvHeads), _gradOutput = Random(device, 4, length, NumHeads);

        public float[][] Run(AttentionOptions options, AttentionInputs inputs)
        {
            using Tensor output = Empty(NumHeads), gradQuery = Empty(NumHeads), gradKey = Empty(NumKvHeads), gradValue = Empty(NumKvHeads);
            using Tensor lse = Tensor.Allocate(device, DataType.Float32, 1, NumHeads, length);
            DenseAttention.Forward(_query.View, _key.View, _value.View, output.View, options, lse.View, inputs);
            DenseAttention.Backward(
                _query.View, _key.View, _value.View, output.View, lse.View, _gradOutput.View,
                new AttentionGradients { Query = gradQuery.View, Key = gradKey.View, Value = gradValue.View }, options, inputs: inputs);
            return [.. ((Tensor[])[output, lse, gradQuery, gradKey, gradValue]).Select(tensor => tensor.ToArray<float>())];
        }

        public float[] RunSparse(Tensor columns, Tensor counts)
        {
            using Tensor output = Empty(NumHeads);
            KernelEngine.SparseAttention.Forward(_query.View, _key.View, _value.View, columns.View, counts.View, output.View);
            return output.ToArray<float>();
        }

        public void Dispose()
        {
            foreach (Tensor tensor in (Tensor[])[_query, _key, _value, _gradOutput])
                tensor.Dispose();
        }

        private Tensor Empty(int heads) => Tensor.Allocate(device, DataType.Float32, 1, length, heads, HeadDim);

        private static Tensor Random(Device device, int seed, int length, int heads) =>
            Tensor.From<float>(device, Numbers(length * heads * HeadDim, seed), 1, length, heads, HeadDim);
    }
}
