namespace KernelEngine.Tests.KvCache;

/// <summary>ExpectedAttention against its definition with whole rotation matrices, one position ahead after another.</summary>
public sealed class ExpectedAttentionTests
{
    private const int Length = 48, NumHeads = 4, NumKvHeads = 2, HeadDim = 8, RotaryDim = 6, Sinks = 3, Future = 40, Budget = 14;

    [TestCase(false)]
    [TestCase(true)]
    public void KeepsWhatQueriesAheadAreExpectedToNeed(bool isInterleaved)
    {
        Device device = TestDevices.Get("cpu");
        RotaryTables tables = RotaryTables.Create(2 * Length, RotaryDim, 10_000);
        using Tensor cos = Tensor.From<float>(device, tables.Cos, 2 * Length, RotaryDim / 2), sin = Tensor.From<float>(device, tables.Sin, 2 * Length, RotaryDim / 2);
        using Tensor query = Random(device, 1, NumHeads), key = Random(device, 2, NumKvHeads), value = Random(device, 3, NumKvHeads);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, Length, NumHeads, HeadDim);
        float[] queries = query.ToArray<float>(), keys = key.ToArray<float>(), values = value.ToArray<float>();
        var policy = new ExpectedAttention(new UniformBudget(Budget), Sinks, Future) { Phases = KvPhases.PrefillEnd };
        using var session = new KvSession(device, [new KvLayerShape(NumKvHeads, HeadDim, HeadDim)], [NumHeads], policy);
        // Two chunks, the first within the sinks.
        session.Run(
            0, query.Slice(1, 0, 2), key.Slice(1, 0, 2), value.Slice(1, 0, 2), output.Slice(1, 0, 2), 0, KvPhases.PrefillChunk, new KvRotary(cos, sin, isInterleaved));
        session.Run(
            0, query.Slice(1, 2, Length - 2), key.Slice(1, 2, Length - 2), value.Slice(1, 2, Length - 2), output.Slice(1, 2, Length - 2), 2, KvPhases.PrefillEnd,
            new KvRotary(cos, sin, isInterleaved));
        for (int h = 0; h < NumKvHeads; h++)
        {
            double[] scores = Scores(queries, keys, values, h, isInterleaved);
            int[] expected = [.. Enumerable.Range(0, Length).OrderByDescending(slot => scores[slot]).Take(Budget).Order()];
            Assert.That(session.Cache.Layers[0].Cells[h].Positions.ToArray(), Is.EqualTo(expected));
        }
    }

    private static double[] Scores(float[] queries, float[] keys, float[] values, int kvHead, bool isInterleaved)
    {
        var attention = new double[Length];
        for (int head = 2 * kvHead; head < 2 * kvHead + 2; head++)
        {
            var mean = new double[HeadDim];
            for (int t = Sinks; t < Length; t++)
            {
                for (int i = 0; i < HeadDim; i++)
                    mean[i] += (double)queries[(t * NumHeads + head) * HeadDim + i] / (Length - Sinks);
            }
            var covariance = new double[HeadDim, HeadDim];
            for (int t = Sinks; t < Length; t++)
            {
                for (int i = 0; i < HeadDim; i++)
                {
                    for (int j = 0; j < HeadDim; j++)
                    {
                        covariance[i, j] += (queries[(t * NumHeads + head) * HeadDim + i] - mean[i]) * (queries[(t * NumHeads + head) * HeadDim + j] - mean[j])
                            / (Length - Sinks);
                    }
                }
            }
            double[,] turn = MeanRotation(isInterleaved);
            var z = new double[Length];
            for (int slot = Sinks; slot < Length; slot++)
            {
                // A key at its position meets the turned mean and covariance: k · R μ and kᵀ R Σ Rᵀ k, by way of Rᵀ k.
                double[] k = Rotate(keys.AsSpan((slot * NumKvHeads + kvHead) * HeadDim, HeadDim), slot, isInterleaved), back = new double[HeadDim];
                for (int i = 0; i < HeadDim; i++)
                {
                    for (int j = 0; j < HeadDim; j++)
                        back[j] += turn[i, j] * k[i];
                }
                double linear = 0, square = 0;
                for (int i = 0; i < HeadDim; i++)
                {
                    linear += back[i] * mean[i];
                    for (int j = 0; j < HeadDim; j++)
                        square += back[i] * covariance[i, j] * back[j];
                }
                z[slot] = linear / Math.Sqrt(HeadDim) + square / (2 * HeadDim);
            }
            double sum = z[Sinks..].Sum(Math.Exp);
            for (int slot = Sinks; slot < Length; slot++)
                attention[slot] += Math.Exp(z[slot]) / sum / 2;
        }
        return [.. attention.Select((weight, slot) => slot < Sinks
            ? double.PositiveInfinity
            : weight * Math.Sqrt(values.AsSpan((slot * NumKvHeads + kvHead) * HeadDim, HeadDim).ToArray().Sum(x => (double)x * x)))];
    }

    private static double[,] MeanRotation(bool isInterleaved)
    {
        var mean = new double[HeadDim, HeadDim];
        for (int column = 0; column < HeadDim; column++)
        {
            var unit = new float[HeadDim];
            unit[column] = 1;
            for (int p = Length; p < Length + Future; p++)
            {
                double[] turned = Rotate(unit, p, isInterleaved);
                for (int i = 0; i < HeadDim; i++)
                    mean[i, column] += turned[i] / Future;
            }
        }
        return mean;
    }

    private static double[] Rotate(ReadOnlySpan<float> row, int position, bool isInterleaved)
    {
        double[] turned = [.. row.ToArray().Select(x => (double)x)];
        for (int pair = 0; pair < RotaryDim / 2; pair++)
        {
            int first = isInterleaved ? 2 * pair : pair, second = isInterleaved ? 2 * pair + 1 : pair + RotaryDim / 2;
            (double sin, double cos) = Math.SinCos(position * Math.Pow(10_000, -2.0 * pair / RotaryDim));
            (turned[first], turned[second]) = (row[first] * cos - row[second] * sin, row[second] * cos + row[first] * sin);
        }
        return turned;
    }

    private static Tensor Random(Device device, int seed, int heads) => RandomTensors.Create(
        device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1, Length, heads, HeadDim), ""), seed);
}
