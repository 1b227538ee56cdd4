using CsCheck;

namespace KernelEngine.Tests.Layers;

/// <summary>What sampling must hold to whatever the numbers, for every kernel in host memory.</summary>
public sealed class SamplingPropertyTests
{
    private static IEnumerable<Kernel<SampleProblem>> Kernels => HostKernels.Of(KernelEngine.Layers.SampleOperation);

    [TestCaseSource(nameof(Kernels))]
    public void NeverDrawsATokenThatAFilterExcludes(Kernel<SampleProblem> kernel)
    {
        // Logits in quarters make ties, and steps between probabilities far wider than rounding.
        Gen<float> logit = Gen.Frequency((9, Gen.Int[-20, 20].Select(i => i / 4f)), (1, Gen.Const(float.NegativeInfinity)));
        Gen<SampleProblem> problem = Gen.Select(Gen.Int[1, 60], Gen.Float[0.2f, 3], Gen.Int[0, 30], Gen.Float[0.05f, 1], Gen.Float[0, 0.6f])
            .Select((n, temperature, k, p, minP) => new SampleProblem(64, n, temperature, k, p, minP));
        problem.SelectMany(p => Gen.Select(Gen.Const(p), logit.Array[p.Size], Gen.Float[0, 0.999f].Array[p.Rows])).Sample(
            (p, logits, uniforms) =>
            {
                int[] drawn = Draw(kernel, p, logits, uniforms);
                HashSet<int> allowed = Allowed(p, logits);
                return allowed.Count == 0 ? drawn.All(t => t == -1) : drawn.All(allowed.Contains);
            }, iter: 300, seed: "0000KOIXRdR5");
    }

    [TestCaseSource(nameof(Kernels))]
    public void FrequenciesApproachTheProbabilities(Kernel<SampleProblem> kernel)
    {
        float[] logits = [0.3f, -1.2f, 2.1f, 0.3f, float.NegativeInfinity, 1.7f, -0.4f, 0.9f, -3f, 1.1f];
        const int Draws = 40_000;
        var random = new Random(11);
        float[] uniforms = [.. Enumerable.Range(0, Draws).Select(_ => random.NextSingle())];
        int[] drawn = Draw(kernel, new SampleProblem(Draws, logits.Length, 0.8f), logits, uniforms);

        double[] weights = [.. logits.Select(l => Math.Exp(l / 0.8))];
        double total = weights.Sum(), chiSquare = 0;
        for (int token = 0; token < logits.Length; token++)
        {
            double expected = Draws * weights[token] / total;
            int count = drawn.Count(t => t == token);
            if (expected == 0)
                Assert.That(count, Is.Zero);
            else
                chiSquare += (count - expected) * (count - expected) / expected;
        }
        Assert.That(chiSquare, Is.LessThan(26.1), "chi-square of 8 degrees of freedom, 0.1 % level");
    }

    [TestCaseSource(nameof(Kernels))]
    public void WalksTheTokensInOrderOfProbabilityThenIndex(Kernel<SampleProblem> kernel)
    {
        // Probabilities 1/2 (token 3), 1/8 (1, 2, 4, 6): the cumulative sums are exact.
        float[] logits = [float.NegativeInfinity, 0, 0, 2 * MathF.Log(2), 0, float.NegativeInfinity, 0];
        float[] uniforms = [0, 0.49f, 0.51f, 0.62f, 0.63f, 0.74f, 0.76f, 0.87f, 0.88f, 0.99f];
        int[] drawn = Draw(kernel, new SampleProblem(uniforms.Length, logits.Length), logits, uniforms);
        Assert.That(drawn, Is.EqualTo((int[])[3, 3, 1, 1, 2, 2, 4, 4, 6, 6]));
    }

    [TestCaseSource(nameof(Kernels))]
    public void TopKBreaksTiesByIndex(Kernel<SampleProblem> kernel)
    {
        float[] logits = [1, 2, 2, 2, 0, 2];
        int[] drawn = Draw(kernel, new SampleProblem(4, 6, TopK: 2), logits, [0, 0.49f, 0.51f, 0.999f]);
        Assert.That(drawn, Is.EqualTo((int[])[1, 1, 2, 2]));
    }

    [TestCaseSource(nameof(Kernels))]
    public void TopPCountsWithinWhatTopKKept(Kernel<SampleProblem> kernel)
    {
        // Of 8 equal tokens top-k keeps 4, of which a share of 0.6 is the first 3 (of all 8 it would be the first 5).
        float[] logits = new float[8];
        float[] uniforms = [0.32f, 0.34f, 0.65f, 0.67f, 0.999f];
        int[] drawn = Draw(kernel, new SampleProblem(5, 8, TopK: 4, TopP: 0.6f), logits, uniforms);
        Assert.That(drawn, Is.EqualTo((int[])[0, 1, 1, 2, 2]));
    }

    [TestCaseSource(nameof(Kernels))]
    public void ZeroAndMinusZeroAreOneLogit(Kernel<SampleProblem> kernel) =>
        Assert.That(Draw(kernel, new SampleProblem(2, 2, TopK: 1), [-0f, 0f], [0.1f, 0.9f]), Is.EqualTo((int[])[0, 0]));

    [TestCaseSource(nameof(Kernels))]
    public void RowsWithNothingToDrawGiveMinusOne(Kernel<SampleProblem> kernel)
    {
        const float NaN = float.NaN, Inf = float.PositiveInfinity;
        float[][] rows = [[1, NaN, 2], [-Inf, -Inf, -Inf], [], [NaN], [.. Enumerable.Repeat(1f, 70), NaN], [1, Inf, 2]];
        foreach (float[] row in rows)
            Assert.That(Draw(kernel, new SampleProblem(1, row.Length), row, [0.5f]), Is.EqualTo((int[])[-1]), $"[{string.Join(", ", row)}]");
    }

    [TestCaseSource(nameof(Kernels))]
    public void TemperatureZeroIsTheLargestLogit(Kernel<SampleProblem> kernel)
    {
        float[][] rows = [[1, 5, 5, 2], [-1, float.NegativeInfinity], [float.NegativeInfinity], [1, float.NaN], [1, float.PositiveInfinity]];
        int[] expected = [1, 0, -1, -1, 1];
        for (int i = 0; i < rows.Length; i++)
        {
            var problem = new SampleProblem(1, rows[i].Length, 0, TopK: 1, TopP: 0, MinP: 1);
            Assert.That(Draw(kernel, problem, rows[i], [0.99f]), Is.EqualTo((int[])[expected[i]]), $"row {i}");
        }
    }

    [TestCaseSource(nameof(Kernels))]
    public void ATinyTemperatureIsTheLargestLogit(Kernel<SampleProblem> kernel) =>
        Assert.That(Draw(kernel, new SampleProblem(2, 4, float.Epsilon), [1, 3, -3e38f, 3], [0.4f, 0.6f]), Is.EqualTo((int[])[1, 3]));

    [TestCaseSource(nameof(Kernels))]
    public void ManyRowsAreDrawnAsOneByOne(Kernel<SampleProblem> kernel)
    {
        // Enough rows for all threads.
        var problem = new SampleProblem(67, 500, 0.9f, 60, 0.95f, 0.01f);
        var random = new Random(5);
        float[] logits = [.. Enumerable.Range(0, problem.Rows * problem.Size).Select(_ => 4 * random.NextSingle())];
        float[] uniforms = [.. Enumerable.Range(0, problem.Rows).Select(_ => random.NextSingle())];
        int[] together = Draw(kernel, problem, logits, uniforms);
        for (int m = 0; m < problem.Rows; m++)
        {
            float[] row = logits[(m * problem.Size)..((m + 1) * problem.Size)];
            Assert.That(Draw(kernel, problem with { Rows = 1 }, row, [uniforms[m]])[0], Is.EqualTo(together[m]), $"row {m}");
        }
    }

    // One row of logits for all draws, or one a draw.
    private static int[] Draw(Kernel<SampleProblem> kernel, SampleProblem problem, float[] logits, float[] uniforms)
    {
        Device device = HostKernels.DeviceOf(kernel);
        using Tensor logitTensor = Tensor.From<float>(device, logits, logits.Length);
        using Tensor uniformTensor = Tensor.From<float>(device, uniforms, uniforms.Length);
        using Tensor indices = Tensor.Allocate(device, DataType.Int32, uniforms.Length);
        long stride = logits.Length > problem.Size ? problem.Size : 0;
        var rows = new TensorView(logitTensor.View.Storage!, 0, DataType.Float32, new TensorLayout([problem.Rows, problem.Size], [stride, 1]));
        device.Run(KernelEngine.Layers.SampleOperation, problem, [rows, uniformTensor, indices], kernel);
        return indices.ToArray<int>();
    }

    // What the filters leave, from their definitions. Boundaries of top-p and min-p closer than rounding are left open.
    private static HashSet<int> Allowed(SampleProblem problem, float[] logits)
    {
        int[] order = [.. Enumerable.Range(0, logits.Length).Where(i => logits[i] > float.NegativeInfinity).OrderByDescending(i => logits[i]).ThenBy(i => i)];
        if (order.Length == 0)
            return [];
        if (problem.TopK > 0)
            order = [.. order.Take(problem.TopK)];
        const double Slack = 1e-5;
        double[] weights = [.. order.Select(i => Math.Exp((logits[i] - (double)logits[order[0]]) / problem.Temperature))];
        double total = weights.Sum(), before = 0;
        var allowed = new HashSet<int>();
        for (int i = 0; i < order.Length; i++)
        {
            bool isInTopP = problem.TopP >= 1 || before <= (problem.TopP + Slack) * total;
            if (isInTopP && weights[i] >= problem.MinP * (1 - Slack))
                allowed.Add(order[i]);
            before += weights[i];
        }
        return allowed;
    }
}
