using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.KvCache;

/// <summary>Shorter rows in cells (MatryoshkaKV, arXiv:2410.14731) against attention over what is left of whole rows.</summary>
public sealed class KvProjectionTests
{
    private const int NumKvHeads = 2, HeadDim = 16, ValueHeadDim = 12, RotaryDim = 8, Length = 50, PromptLength = 40;

    private const string ModelPath = "tinyllamas-stories260K/stories260K.bin";

    // Keys are turned first, then all but some directions are lost; values likewise. Bytes are those of the shorter rows.
    [TestCase("cpu", 1, 5, 7)]
    [TestCase("cpu", 4, 8, 1)]
    [TestCase("cpu", 2, HeadDim, ValueHeadDim)]
    [TestCase("reference", 2, 3, 4)]
    [TestCase("opencl", 2, 5, 7, Category = "OpenCL")]
    public void AttentionIsThatOverWhatIsLeftOfTheRows(string deviceName, int groupSize, int keyRank, int valueRank)
    {
        Device device = TestDevices.Get(deviceName);
        int numHeads = NumKvHeads * groupSize;
        var shape = new KvLayerShape(NumKvHeads, HeadDim, ValueHeadDim);
        float[] keyBasis = [.. Basis(HeadDim, 1)[..(keyRank * HeadDim)], .. Basis(HeadDim, 2)[..(keyRank * HeadDim)]];
        int valueCount = valueRank * ValueHeadDim;
        float[] valueBasis = [.. Basis(ValueHeadDim, 3)[..valueCount], .. Basis(ValueHeadDim, 4)[..valueCount]];
        using var projection = new KvProjection(device, shape, keyBasis, valueBasis);
        using var session = new KvSession(
            device, [shape], [numHeads], new FullCache(), new KvCacheOptions { PageSize = 1 }, projections: [projection]);
        RotaryTables tables = RotaryTables.Create(Length, RotaryDim, 10_000);
        using Tensor cos = Tensor.From<float>(device, tables.Cos, Length, RotaryDim / 2);
        using Tensor sin = Tensor.From<float>(device, tables.Sin, Length, RotaryDim / 2);
        float[] queries = Numbers(1, Length * numHeads * HeadDim), keys = Numbers(2, Length * NumKvHeads * HeadDim);
        float[] values = Numbers(3, Length * NumKvHeads * ValueHeadDim);
        var outputs = new List<float>();
        for (int position = 0; position < Length;)
        {
            int rows = position == 0 ? PromptLength : 1;
            using Tensor query = Rows(queries, position, rows, numHeads, HeadDim), key = Rows(keys, position, rows, NumKvHeads, HeadDim);
            using Tensor value = Rows(values, position, rows, NumKvHeads, ValueHeadDim);
            using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, rows, numHeads, ValueHeadDim);
            session.Run(0, query, key, value, output, position, rows > 1 ? KvPhases.PrefillEnd : KvPhases.Decode, new KvRotary(cos, sin));
            outputs.AddRange(output.ToArray<float>());
            position += rows;
        }
        Assert.That(session.Cache.Bytes.PayloadUsed, Is.EqualTo(Length * NumKvHeads * (keyRank + valueRank) * sizeof(float)));
        Assert.That(session.Cache.Bytes.PayloadReserved, Is.LessThan(2 * session.Cache.Bytes.PayloadUsed));
        for (int token = 0; token < Length; token++)
        {
            for (int head = 0; head < numHeads; head++)
            {
                double[] expected = Attend(token, head);
                float[] actual = [.. outputs.Skip((token * numHeads + head) * ValueHeadDim).Take(ValueHeadDim)];
                Assert.That(actual, Is.EqualTo(expected).Within(2e-5), $"token {token}, head {head}");
            }
        }

        Tensor Rows(float[] all, int first, int rows, int heads, int width) =>
            Tensor.From<float>(device, all.AsSpan(first * heads * width, rows * heads * width), 1, rows, heads, width);

        double[] Attend(int token, int head)
        {
            int kvHead = head / groupSize;
            double[] query = RotaryOracle.Turn(queries.AsSpan((token * numHeads + head) * HeadDim, HeadDim), token, RotaryDim);
            double[] weights = [.. Enumerable.Range(0, token + 1).Select(j =>
            {
                double[] key = RotaryOracle.Turn(keys.AsSpan((j * NumKvHeads + kvHead) * HeadDim, HeadDim), j, RotaryDim);
                key = Left(key, keyBasis.AsSpan(kvHead * keyRank * HeadDim), keyRank);
                return Math.Exp(query.Zip(key, (x, y) => x * y).Sum() / Math.Sqrt(HeadDim));
            })];
            double[] sums = new double[ValueHeadDim];
            for (int j = 0; j <= token; j++)
            {
                int first = (j * NumKvHeads + kvHead) * ValueHeadDim;
                double[] value = [.. values.AsSpan(first, ValueHeadDim).ToArray().Select(x => (double)x)];
                value = Left(value, valueBasis.AsSpan(kvHead * valueRank * ValueHeadDim), valueRank);
                for (int i = 0; i < ValueHeadDim; i++)
                    sums[i] += weights[j] / weights.Sum() * value[i];
            }
            return sums;
        }
    }

    // What the search for ranks says that a layer's output loses is what it loses: with equal ranks in a layer, and with ranks of each
    // head, where the file has fewer directions of some. Its keys were centred there, and are not in the cache.
    [TestCase(true)]
    [TestCase(false)]
    public void ARealModelLosesWhatTheSearchSays(bool isByLayer)
    {
        Device device = ModelFixture.GetDevice("cpu");
        using ModelFile file = ModelFile.Open(TestData.PathOf(ModelPath));
        using ModelWeights weights = ModelWeights.Load(device, file.Description, file.Weights);
        int[] tokens = HeadIdentificationTests.ReadIds(ModelPath)[..64];
        var projection = new MatryoshkaProjection(ModelCapture.Read(file.Description, weights, tokens));
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, KvProjections.FileName);
        projection.Save(path);
        (float[] full, _, long bytes) = Read(null);
        Assert.That(Read(path).Logits, Is.EqualTo(full).Within(1e-4), "full ranks");

        projection.ChooseRanks(0.7, 1, isByLayer);
        projection.Save(path);
        (int Key, int Value)[][] ranks = [.. Enumerable.Range(0, 5).Select(layer =>
            Enumerable.Range(0, 4).Select(head => (projection.Key(layer, head).Rank, projection.Value(layer, head).Rank)).ToArray())];
        Assert.That(ranks.All(layer => layer.Distinct().Count() == 1), Is.EqualTo(isByLayer));
        (float[] logits, float[] output, long shorter) = Read(path);
        int stored = ranks.Sum(layer => layer.Max(rank => rank.Key) + layer.Max(rank => rank.Value));
        Assert.That(shorter, Is.EqualTo(bytes / (5 * 16) * stored));
        if (isByLayer)
            Assert.That(shorter, Is.EqualTo(bytes * projection.Share).Within(1).And.LessThanOrEqualTo(0.7 * bytes));
        float[] whole = Read(null).Output;
        double error = whole.Zip(output, (x, y) => ((double)x - y) * (x - y)).Sum();
        double expected = Enumerable.Range(0, 4).Sum(head => projection.SquaredError(0, head, ranks[0][head].Key, ranks[0][head].Value));
        Assert.That(error, Is.EqualTo(expected).Within(1e-3 * expected));
        Assert.That(expected, Is.GreaterThan(0));
        Assert.That(logits, Is.Not.EqualTo(full).Within(1e-3));

        (float[] Logits, float[] Output, long Bytes) Read(string? bases)
        {
            using KvProjections? projections = bases is null ? null : KvProjections.Load(device, bases, file.Description);
            var options = new RunnerOptions { Policy = new FullCache(), PageSize = 1, Projections = projections?.Layers };
            using var runner = new ModelRunner(file.Description, weights, options);
            float[] first = [];
            runner.Session!.Attended = (layer, rows) => first = layer == 0 ? rows.ToArray<float>() : first;
            runner.Prefill(tokens);
            return (runner.GetLogits(), first, runner.Session.Cache.Bytes.PayloadUsed);
        }
    }

    [Test]
    public void WhatDoesNotFitIsRefused()
    {
        Device device = ModelFixture.GetDevice("cpu");
        var shape = new KvLayerShape(1, 4, 4);
        float[] basis = Basis(4, 1);
        using var projection = new KvProjection(device, shape, basis, basis);
        Assert.That(
            () => new KvProjection(device, shape, basis.AsSpan(1), basis), Throws.ArgumentException.With.Message.Contains("keyBasis"));
        Assert.That(
            () => new KvProjection(device, shape, basis, []), Throws.ArgumentException.With.Message.Contains("valueBasis"));
        Assert.That(
            () => new KvSession(device, [shape with { HeadDim = 5 }], [1], new FullCache(), projections: [projection]),
            Throws.ArgumentException.With.Message.Contains("projections"));
        KvPolicy[] policies = [new StreamingLlm(8, isReindexed: true), new ExpectedAttention(new UniformBudget(8)), new LongHeads()];
        foreach (KvPolicy policy in policies)
        {
            Assert.That(
                () => new KvSession(device, [shape], [1], policy, projections: [projection]),
                Throws.TypeOf<NotSupportedException>().With.Message.Contains(policy.Name));
        }
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, KvProjections.FileName);
        SafetensorsWriter.Write(path, [new TensorToWrite("a", StoredTensor.FromValues("a", [1f], 1), DataType.Float32)]);
        using ModelFile file = ModelFile.Open(TestData.PathOf(ModelPath));
        Assert.That(
            () => KvProjections.Load(device, path, file.Description),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("layers.0.heads.0.key_basis"));
    }

    // Random orthonormal rows [width, width], by Gram and Schmidt.
    internal static float[] Basis(int width, int seed)
    {
        var random = new Random(seed);
        var rows = new List<double[]>();
        while (rows.Count < width)
        {
            double[] row = [.. Enumerable.Range(0, width).Select(_ => 2 * random.NextDouble() - 1)];
            foreach (double[] other in rows)
            {
                double product = row.Zip(other, (x, y) => x * y).Sum();
                row = [.. row.Zip(other, (x, y) => x - product * y)];
            }
            double norm = Math.Sqrt(row.Sum(x => x * x));
            rows.Add([.. row.Select(x => x / norm)]);
        }
        return [.. rows.SelectMany(row => row.Select(x => (float)x))];
    }

    private static float[] Numbers(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 4 * random.NextSingle() - 2)];
    }

    // Σ over directions (u · row) u.
    private static double[] Left(double[] row, ReadOnlySpan<float> directions, int rank)
    {
        var left = new double[row.Length];
        for (int i = 0; i < rank; i++)
        {
            double product = 0;
            for (int j = 0; j < row.Length; j++)
                product += directions[i * row.Length + j] * row[j];
            for (int j = 0; j < row.Length; j++)
                left[j] += product * directions[i * row.Length + j];
        }
        return left;
    }
}
