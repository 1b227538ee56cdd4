namespace KernelEngine.Tests.KvCache;

/// <summary>Caches of models with linear biases, against attention to everything with the same slopes and windows.</summary>
public sealed class AlibiCacheTests
{
    private const int NumKvHeads = 2, HeadDim = 16, Length = 90, PromptLength = 60;

    // Distances are those of the tokens, whatever was dropped between them and in whatever order slots lie.
    [TestCase("cpu", 1, 60)]
    [TestCase("cpu", 2, 16)]
    [TestCase("reference", 2, 16)]
    [TestCase("opencl", 2, 16, Category = "OpenCL")]
    public void DroppedTokensLeaveDistancesAsTheyWere(string deviceName, int groupSize, int chunkSize)
    {
        Device device = TestDevices.Get(deviceName);
        float[] slopes = Slopes(NumKvHeads * groupSize);
        var policies = new (KvPolicy Policy, int[] Windows)[]
        {
            (new FullCache(), [-1, 0]),
            (new HeavyHitters(new UniformBudget(Length)), [-1, 0]), // which gathers weights while tokens are generated
            (new SnapKv(new UniformBudget(Length), 4), [-1, 0]), // which weighs anew
            (new StreamingLlm(20, 4) { HasStrictWindows = true }, [15, 4]),
            (new RazorAlibi((_, _) => 25) { HasStrictWindows = true }, [24, 0]),
        };
        foreach ((KvPolicy policy, int[] windows) in policies)
        {
            float[] expected = AttendToAll(device, slopes, windows), actual = Run(device, policy, slopes, chunkSize);
            Assert.That(actual, Is.EqualTo(expected).Within(1e-5), policy.Name);
        }
        float[] coded = Run(device, new FullCache(), slopes, chunkSize, codeBits: 8);
        Assert.That(coded, Is.EqualTo(AttendToAll(device, slopes, [-1, 0])).Within(0.01), "codes");
    }

    // A scope from the largest score there is loses N ε of the weights at the most, which moves the output by twice that times the longest
    // value.
    [TestCase(1e-5)]
    [TestCase(1e-2)]
    public void AScopeLosesNoMoreThanItMay(double epsilon)
    {
        const int GroupSize = 2;
        Device device = TestDevices.Get("cpu");
        float[] slopes = [.. Slopes(NumKvHeads * GroupSize).Select(slope => 4 * slope)];
        float[] queries = Draw(1, NumKvHeads * GroupSize), keys = Draw(2, NumKvHeads), values = Draw(3, NumKvHeads);
        int[] scopes = [.. Enumerable.Range(0, NumKvHeads).Select(kvHead => Enumerable.Range(kvHead * GroupSize, GroupSize).Max(
            head => RazorAlibi.Scope(slopes[head], LargestScore(head), epsilon, margin: 0)))];
        Assert.That(scopes.Min(), Is.LessThan(Length - 20), "something is dropped");
        float[] expected = AttendToAll(device, slopes, [-1, 0]);
        float[] actual = Run(device, new RazorAlibi((_, cell) => scopes[cell]) { HasStrictWindows = true }, slopes, chunkSize: 16);
        double longest = values.Chunk(HeadDim).Max(Norm), most = 0;
        for (int row = 0; row < expected.Length; row += HeadDim)
        {
            double difference = Norm(expected[row..(row + HeadDim)].Zip(actual[row..(row + HeadDim)], (x, y) => x - y));
            most = Math.Max(most, difference);
        }
        Assert.That(most, Is.LessThanOrEqualTo(2 * Length * epsilon * longest + 1e-5));

        double LargestScore(int head)
        {
            double largest = 0;
            for (int i = 0; i < Length; i++)
            {
                for (int j = 0; j < Length; j++)
                {
                    double score = 0;
                    for (int d = 0; d < HeadDim; d++)
                    {
                        score += (double)queries[(i * NumKvHeads * GroupSize + head) * HeadDim + d]
                            * keys[(j * NumKvHeads + head / GroupSize) * HeadDim + d];
                    }
                    largest = Math.Max(largest, Math.Abs(score) / Math.Sqrt(HeadDim));
                }
            }
            return largest;
        }
    }

    [Test]
    public void SlopesAreOneForEachQueryHead()
    {
        Device device = TestDevices.Get("cpu");
        KvLayerShape shape = new(NumKvHeads, HeadDim, HeadDim);
        Assert.That(
            () => new KernelEngine.KvCache(device, [shape], new KvCacheOptions { AlibiSlopes = [1, 2, 3] }),
            Throws.ArgumentException.With.Message.Contains("3 is no multiple of 2"));
        Assert.That(
            () => new KernelEngine.KvCache(device, [shape], new KvCacheOptions { AlibiSlopes = [1, float.NaN] }),
            Throws.ArgumentException.With.Message.Contains("finite"));
        Assert.That(
            () => Run(device, new FullCache(), [1, 2], 16, numHeads: 4), Throws.ArgumentException.With.Message.Contains("4 query heads"));
    }

    // The published slopes: 2^(−8 h / heads).
    private static float[] Slopes(int heads) => [.. Enumerable.Range(1, heads).Select(h => (float)Math.Pow(2, -8.0 * h / heads))];

    // A prompt in chunks, then token by token: [tokens, heads, headDim].
    private static float[] Run(Device device, KvPolicy policy, float[] slopes, int chunkSize, int codeBits = 0, int? numHeads = null)
    {
        using var session = new KvSession(
            device, [new KvLayerShape(NumKvHeads, HeadDim, HeadDim)], [numHeads ?? slopes.Length], policy,
            new KvCacheOptions { AlibiSlopes = slopes, PageSize = 8, CodeBits = codeBits, FullCount = 4 });
        var outputs = new List<float>();
        for (int position = 0; position < Length;)
        {
            int count = position < PromptLength ? Math.Min(chunkSize, PromptLength - position) : 1;
            KvPhases phase = position >= PromptLength ? KvPhases.Decode
                : position + count == PromptLength ? KvPhases.PrefillEnd : KvPhases.PrefillChunk;
            using Tensor query = Rows(device, 1, slopes.Length), key = Rows(device, 2, NumKvHeads), value = Rows(device, 3, NumKvHeads);
            using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, count, slopes.Length, HeadDim);
            session.Run(
                0, query.Slice(1, position, count), key.Slice(1, position, count), value.Slice(1, position, count), output, position,
                phase);
            outputs.AddRange(output.ToArray<float>());
            position += count;
        }
        return [.. outputs];
    }

    private static float[] AttendToAll(Device device, float[] slopes, int[] windows)
    {
        using Tensor query = Rows(device, 1, slopes.Length), key = Rows(device, 2, NumKvHeads), value = Rows(device, 3, NumKvHeads);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, Length, slopes.Length, HeadDim);
        using Tensor slope = Tensor.From<float>(device, slopes, 1, slopes.Length);
        using Tensor window = Tensor.From<int>(device, [.. Enumerable.Repeat(windows, slopes.Length).SelectMany(w => w)], slopes.Length, 2);
        KernelEngine.Attention.Forward(
            query, key, value, output, AttentionOptions.Causal, default, new AttentionInputs { AlibiSlopes = slope, HeadWindows = window });
        return output.ToArray<float>();
    }

    private static Tensor Rows(Device device, int kind, int heads) =>
        Tensor.From<float>(device, Draw(kind, heads), 1, Length, heads, HeadDim);

    private static float[] Draw(int kind, int heads)
    {
        var random = new Random(kind);
        return [.. Enumerable.Range(0, Length * heads * HeadDim).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static double Norm(IEnumerable<float> row) => Math.Sqrt(row.Sum(x => (double)x * x));
}
