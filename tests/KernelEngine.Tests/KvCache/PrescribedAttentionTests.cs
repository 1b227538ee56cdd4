namespace KernelEngine.Tests.KvCache;

/// <summary>
/// Heads whose attention is any distribution one likes: with query e₁ and keys √d · ln(p) · e₁ the weights are p. What dropping slots costs
/// is then known in closed form, and how budgets are best divided.
/// </summary>
public sealed class PrescribedAttentionTests
{
    private const int NumHeads = 128, Length = 64, HeadDim = 64, Sessions = 4;

    private static readonly float[][] Values = [.. Enumerable.Range(0, Sessions).Select(DrawValues)];

    public static IEnumerable<TestCaseData> Heads =>
    [
        Head("sink", j => j == 0 ? 0.9 : 0.1 * 0.2 * Math.Pow(0.8, j - 1)),
        Head("local", j => Math.Pow(0.8, Length - 1 - j)),
        Head("retrieval", j => j == 20 ? 0.95 : 0.05 / (Length - 1)),
        Head("zipf", j => 1.0 / (j + 1)),
        Head("uniform", _ => 1),
        Head("mixture", j => (j == 0 ? 0.4 : 0) + 0.3 * Math.Pow(0.8, Length - 1 - j) + 0.3 / Length),
    ];

    // Values are independent and normal: with mass m dropped, the squared error is (m / (1 − m))² Σ p² over the kept and Σ p² over the
    // dropped.
    [TestCaseSource(nameof(Heads))]
    public void TheErrorOfDroppingSlotsIsTheClosedForm(double[] weights)
    {
        foreach (int budget in (int[])[Length / 16, Length / 4, Length / 2, Length])
        {
            int[] kept = [.. Enumerable.Range(0, Length).OrderByDescending(j => weights[j]).Take(budget).Order()];
            double mass = 1 - kept.Sum(j => weights[j]);
            double all = weights.Sum(w => w * w), keptSquares = kept.Sum(j => weights[j] * weights[j]);
            double expected = Math.Sqrt((Math.Pow(mass / (1 - mass), 2) * keptSquares + all - keptSquares) / all);
            double difference = 0, norm = 0;
            foreach (float[] values in Values)
            {
                float[] output = Attend(weights, values, kept);
                for (int head = 0; head < NumHeads; head++)
                {
                    double error = 0, longest = 0;
                    for (int i = 0; i < HeadDim; i++)
                    {
                        double exact = 0;
                        for (int j = 0; j < Length; j++)
                            exact += weights[j] * values[(j * NumHeads + head) * HeadDim + i];
                        error += Math.Pow(output[head * HeadDim + i] - exact, 2);
                        norm += exact * exact;
                    }
                    difference += error;
                    for (int j = 0; j < Length; j++)
                        longest = Math.Max(longest, Norm(values.AsSpan((j * NumHeads + head) * HeadDim, HeadDim)));
                    Assert.That(Math.Sqrt(error), Is.LessThanOrEqualTo(2 * mass * longest + 1e-5), "never more than twice the mass");
                }
            }
            double measured = Math.Sqrt(difference / norm);
            Assert.That(measured, Is.EqualTo(expected).Within(Math.Max(0.03 * expected, 1e-6)), $"{budget} of {Length}");
        }
    }

    // One uniform head and three that look at the first token: what those have no use for serves the other.
    [Test]
    public void HeadsThatNeedLittleGiveTheirSlotsAway()
    {
        const int Tokens = 512, Share = 64;
        double[][] weights =
        [
            [.. Enumerable.Repeat(1.0 / Tokens, Tokens)],
            .. Enumerable.Range(0, 3).Select(
                _ => Enumerable.Range(0, Tokens).Select(j => j == 0 ? 0.9 : 0.02 * Math.Pow(0.8, j - 1)).ToArray()),
        ];
        double[] even = KeptMass(new UniformBudget(Share)), adaptive = KeptMass(new AdaptiveBudget(new UniformBudget(Share)));
        Assert.That(even[0], Is.EqualTo((double)Share / Tokens).Within(1e-9));
        Assert.That(adaptive.Sum(), Is.GreaterThan(even.Sum() + 0.2));
        Assert.That(adaptive[0], Is.GreaterThan(3.0 * Share / Tokens), "nearly all that three heads have to spare");
        Assert.That(adaptive[1..], Has.All.GreaterThan(0.98));

        double[] KeptMass(KvBudget budget)
        {
            Device device = TestDevices.Get("cpu");
            var policy = new SnapKv(budget, window: 1, kernel: 1) { Phases = KvPhases.PrefillEnd };
            using var session = new KvSession(device, [new KvLayerShape(4, HeadDim, HeadDim)], [4], policy);
            using Tensor query = Queries(device, Tokens, 4), key = Keys(device, Tokens, 4, (j, head) => weights[head][j]);
            using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, Tokens, 4, HeadDim);
            session.Run(0, query, key, key, output, 0, KvPhases.PrefillEnd);
            return [.. session.Cache.Layers[0].Cells.Select((cell, head) => cell.Positions.ToArray().Sum(j => weights[head][j]))];
        }
    }

    // The output of one more token, whose own key weighs nothing, over the kept slots: [heads, headDim].
    private static float[] Attend(double[] weights, float[] values, int[] kept)
    {
        Device device = TestDevices.Get("cpu");
        using var session = new KvSession(
            device, [new KvLayerShape(NumHeads, HeadDim, HeadDim)], [NumHeads], new ChosenSlots(kept) { Phases = KvPhases.PrefillEnd });
        using Tensor query = Queries(device, Length, NumHeads), key = Keys(device, Length, NumHeads, (j, _) => weights[j]);
        using Tensor value = Tensor.Wrap<float>(device, values, 1, Length, NumHeads, HeadDim);
        using Tensor outputs = Tensor.Allocate(device, DataType.Float32, 1, Length, NumHeads, HeadDim);
        session.Run(0, query, key, value, outputs, 0, KvPhases.PrefillEnd);
        using Tensor nothing = Keys(device, 1, NumHeads, (_, _) => 1e-30);
        TensorView last = outputs.Slice(1, 0, 1);
        session.Run(0, query.Slice(1, 0, 1), nothing, value.Slice(1, 0, 1), last, Length, KvPhases.Decode);
        return last.ToArray<float>();
    }

    private static Tensor Queries(Device device, int tokens, int heads) => Rows(device, tokens, heads, (_, _) => 1);

    private static Tensor Keys(Device device, int tokens, int heads, Func<int, int, double> weight) =>
        Rows(device, tokens, heads, (j, head) => Math.Sqrt(HeadDim) * Math.Log(weight(j, head)));

    // Rows along the first axis: [1, tokens, heads, headDim].
    private static Tensor Rows(Device device, int tokens, int heads, Func<int, int, double> first)
    {
        var rows = new float[tokens * heads * HeadDim];
        for (int i = 0; i < tokens * heads; i++)
            rows[i * HeadDim] = (float)first(i / heads, i % heads);
        return Tensor.From<float>(device, rows, 1, tokens, heads, HeadDim);
    }

    private static TestCaseData Head(string name, Func<int, double> weight)
    {
        double[] weights = [.. Enumerable.Range(0, Length).Select(weight)];
        return new TestCaseData(weights.Select(w => w / weights.Sum()).ToArray()).SetArgDisplayNames(name);
    }

    private static double Norm(ReadOnlySpan<float> row)
    {
        double sum = 0;
        foreach (float x in row)
            sum += (double)x * x;
        return Math.Sqrt(sum);
    }

    // Independent normal numbers, [length, heads, headDim].
    private static float[] DrawValues(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Length * NumHeads * HeadDim).Select(
            _ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }

    private sealed class ChosenSlots(int[] slots) : KvPolicy
    {
        public override string Name => "chosen";

        public override void Evict(KvStep step)
        {
            if (step.Phase == KvPhases.PrefillEnd)
                step.Layer.Keep([.. step.Layer.Cells.Select(_ => slots)]);
        }
    }
}
