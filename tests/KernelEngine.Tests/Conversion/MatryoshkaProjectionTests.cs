using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Conversion;

public sealed class MatryoshkaProjectionTests
{
    private const string ModelPath = "tinyllamas-stories260K/stories260K.bin";

    [Test]
    public void WithFullRanksNothingIsLost()
    {
        using Session session = new();
        MatryoshkaProjection projection = session.Project(200);
        Assert.That(projection.Share, Is.EqualTo(1));
        for (int layer = 0; layer < 5; layer++)
        {
            for (int head = 0; head < 4; head++)
                Assert.That(projection.SquaredError(layer, head, 8, 8) / projection.SquaredError(layer, head, 8, 0), Is.LessThan(1e-10));
        }
        int[] ids = HeadIdentificationTests.ReadIds(ModelPath);
        using var folded = ModelWeights.Load(session.Device, session.File.Description, projection.FoldValues(session.File.Weights));
        float[] expected = HuggingFaceCheckpointTests.Logits(session.File.Description, session.Weights, ids);
        Assert.That(HuggingFaceCheckpointTests.Logits(session.File.Description, folded, ids), Is.EqualTo(expected).Within(1e-4));
    }

    // What rows lose when r numbers are stored is the energy of the other directions, which falls with r.
    [Test]
    public void TheErrorIsTheEnergyLeftOut()
    {
        using Session session = new();
        MatryoshkaProjection projection = session.Project(100);
        CapturedLayer layer = session.Capture!.Layers[2];
        HeadBasis basis = projection.Key(2, 1);
        Assert.That(HeadBasis.Determinant(basis.Directions, 8), Is.EqualTo(1).Within(1e-12));
        double last = double.PositiveInfinity;
        for (int rank = 0; rank <= 8; rank++)
        {
            var restored = new float[8];
            double error = 0;
            for (int token = 0; token < layer.Length; token++)
            {
                basis.Restore(layer.TurnedKey(token, 1), rank, restored);
                for (int i = 0; i < 8; i++)
                    error += Math.Pow(restored[i] - (double)layer.TurnedKey(token, 1)[i], 2);
            }
            Assert.That(error, Is.EqualTo(basis.Energy[rank..].ToArray().Sum()).Within(1e-6 * basis.Energy[0]));
            Assert.That(error, Is.LessThan(last));
            last = error;
        }
    }

    [Test]
    public void RowsOfLowRankAroundAMeanAreExactAtThatRank()
    {
        const int Width = 12, TrueRank = 5, Count = 60;
        var random = new Random(3);
        float[][] directions = [.. Enumerable.Range(0, TrueRank + 1).Select(
            _ => Enumerable.Range(0, Width).Select(_ => random.NextSingle() - 0.5f).ToArray())];
        float[][] rows = [.. Enumerable.Range(0, Count).Select(_ =>
        {
            float[] factors = [.. Enumerable.Range(0, TrueRank).Select(_ => random.NextSingle() - 0.5f), 3]; // the last is the mean
            return Enumerable.Range(0, Width).Select(i => directions.Zip(factors, (d, f) => d[i] * f).Sum()).ToArray();
        })];
        HeadBasis basis = HeadBasis.Create(Count, Width, i => rows[i], isCentred: true);
        var restored = new float[Width];
        foreach (float[] row in rows)
        {
            basis.Restore(row, TrueRank, restored);
            Assert.That(restored, Is.EqualTo(row).Within(1e-6));
        }
        basis.Restore(rows[0], TrueRank - 1, restored);
        Assert.That(restored, Is.Not.EqualTo(rows[0]).Within(1e-6));
    }

    [Test]
    public void RanksAreChosenWhereTheyCostLeast()
    {
        using Session session = new();
        MatryoshkaProjection projection = session.Project(64);
        double Total(Func<int, int, (int Key, int Value)> ranks) => Enumerable.Range(0, 5).Sum(layer =>
            Enumerable.Range(0, 4).Sum(head => projection.SquaredError(layer, head, ranks(layer, head).Key, ranks(layer, head).Value))
            / Enumerable.Range(0, 4).Sum(head => projection.SquaredError(layer, head, 8, 0)));
        double uniform = Total((_, _) => (6, 6));
        projection.ChooseRanks(0.75, 2);
        Assert.That(projection.Share, Is.LessThanOrEqualTo(0.75).And.GreaterThan(0.75 - 2.0 / (2 * 5 * 4 * 8) - 1e-12));
        Assert.That(Total((layer, head) => (projection.Key(layer, head).Rank, projection.Value(layer, head).Rank)), Is.LessThan(uniform));
        Assert.That(() => projection.ChooseRanks(0.1, 2), Throws.ArgumentException);

        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "projections.safetensors");
        projection.Save(path);
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        HeadBasis key = projection.Key(3, 2);
        Assert.That(reader["layers.3.heads.2.key_basis"].Shape.ToArray(), Is.EqualTo(new long[] { key.Rank, 8 }));
        Assert.That(reader["layers.3.heads.2.key_basis"].ReadSingles()[..8], Is.EqualTo(key.Direction(0).ToArray()).Within(1e-7));
        Assert.That(reader["layers.3.heads.2.key_mean"].ReadSingles(), Is.EqualTo(key.Mean.ToArray()).Within(1e-6));
        Assert.That(reader["layers.3.heads.2.value_basis"].Shape[0], Is.EqualTo(projection.Value(3, 2).Rank));
    }

    private sealed class Session : IDisposable
    {
        public Session() => Weights = ModelWeights.Load(Device, File.Description, File.Weights);

        public Device Device { get; } = ModelFixture.GetDevice("cpu");

        public ModelFile File { get; } = ModelFile.Open(TestData.PathOf(ModelPath));

        public ModelWeights Weights { get; }

        public ModelCapture? Capture { get; private set; }

        public MatryoshkaProjection Project(int tokens)
        {
            Capture = ModelCapture.Read(File.Description, Weights, HeadIdentificationTests.ReadIds(ModelPath).AsSpan(0, tokens));
            return new MatryoshkaProjection(Capture);
        }

        public void Dispose()
        {
            Weights.Dispose();
            File.Dispose();
        }
    }
}
