namespace KernelEngine.Tests.Attention;

/// <summary>Laws that hold for attention whatever the numbers, on every kernel and device.</summary>
[TestFixtureSource(typeof(AttentionTarget), nameof(AttentionTarget.All))]
public sealed class AttentionPropertyTests(AttentionTarget target)
{
    // Sums of a few hundred terms of order one in another order.
    private const double Rounding = 1e-5;

    private static readonly AttentionProblem s_problem = new(1, 4, 2, 5, 71, 40, 24);

    [Test]
    public void OrderOfTheKeysDoesNotMatter()
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        int[] order = [.. Enumerable.Range(0, s_problem.KvLength)];
        new Random(5).Shuffle(order);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        (float[] permutedOutput, float[] permutedLse) = target.Run(
            s_problem, q, Rows(k, order, s_problem.NumKvHeads * s_problem.HeadDim), Rows(v, order, s_problem.NumKvHeads * s_problem.ValueHeadDim));
        Assert.That(permutedOutput, Is.EqualTo(output).Within(Rounding));
        Assert.That(permutedLse, Is.EqualTo(lse).Within(Rounding));
    }

    [TestCase(0)]
    [TestCase(1)]
    [TestCase(29)]
    [TestCase(64)]
    public void PartsOfTheKeysMergeToTheWhole(int firstLength)
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        int keyRow = s_problem.NumKvHeads * s_problem.HeadDim, valueRow = s_problem.NumKvHeads * s_problem.ValueHeadDim;
        (float[] output1, float[] lse1) = target.Run(
            s_problem with { KvLength = firstLength }, q, k[..(firstLength * keyRow)], v[..(firstLength * valueRow)]);
        (float[] output2, float[] lse2) = target.Run(
            s_problem with { KvLength = s_problem.KvLength - firstLength }, q, k[(firstLength * keyRow)..], v[(firstLength * valueRow)..]);
        for (int i = 0; i < s_problem.QueryLength; i++)
        {
            for (int h = 0; h < s_problem.NumHeads; h++)
            {
                int at = h * s_problem.QueryLength + i;
                double max = Math.Max(lse1[at], lse2[at]), weight1 = Math.Exp(lse1[at] - max), weight2 = Math.Exp(lse2[at] - max);
                Assert.That(lse[at], Is.EqualTo(max + Math.Log(weight1 + weight2)).Within(Rounding));
                for (int c = 0; c < s_problem.ValueHeadDim; c++)
                {
                    int o = (i * s_problem.NumHeads + h) * s_problem.ValueHeadDim + c;
                    double merged = (weight1 * output1[o] + weight2 * output2[o]) / (weight1 + weight2);
                    Assert.That(output[o], Is.EqualTo(merged).Within(Rounding));
                }
            }
        }
    }

    [Test]
    public void ACausalRowNeverSeesTheFuture()
    {
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        for (int rows = 1; rows < problem.QueryLength; rows++)
        {
            int visible = problem.VisibleKeys(rows - 1);
            (float[] poisonedOutput, float[] poisonedLse) = target.Run(
                problem, q, Poisoned(k, visible * problem.NumKvHeads * problem.HeadDim), Poisoned(v, visible * problem.NumKvHeads * problem.ValueHeadDim));
            int elements = rows * problem.NumHeads * problem.ValueHeadDim;
            Assert.That(poisonedOutput[..elements], Is.EqualTo(output[..elements]), $"the first {rows} rows");
            Assert.That(poisonedOutput[elements..], Has.All.NaN, "rows that do see the poison");
            for (int h = 0; h < problem.NumHeads; h++)
            {
                int first = h * problem.QueryLength;
                Assert.That(poisonedLse[first..(first + rows)], Is.EqualTo(lse[first..(first + rows)]));
            }
        }
    }

    [Test]
    public void TwiceTheValueIsTwiceTheOutput()
    {
        (float[] q, float[] k, float[] v) = Inputs(s_problem);
        (float[] output, float[] lse) = target.Run(s_problem, q, k, v);
        (float[] doubled, float[] sameLse) = target.Run(s_problem, q, k, [.. v.Select(x => 2 * x)]);
        Assert.That(doubled, Is.EqualTo(output.Select(x => 2 * x)), "a factor of two is exact");
        Assert.That(sameLse, Is.EqualTo(lse));
    }

    [TestCase(false)]
    [TestCase(true)]
    public void EqualScoresAverageTheValuesAndTheirLseIsLogN(bool isCausal)
    {
        AttentionProblem problem = s_problem with { IsCausal = isCausal };
        (_, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, new float[problem.QueryLength * problem.NumHeads * problem.HeadDim], k, v);
        for (int i = 0; i < problem.QueryLength; i++)
        {
            int visible = problem.VisibleKeys(i);
            for (int h = 0; h < problem.NumHeads; h++)
            {
                Assert.That(lse[h * problem.QueryLength + i], Is.EqualTo(Math.Log(visible)).Within(1e-6));
                for (int c = 0; c < problem.ValueHeadDim; c++)
                {
                    double mean = Enumerable.Range(0, visible)
                        .Average(j => (double)v[(j * problem.NumKvHeads + h / problem.GroupSize) * problem.ValueHeadDim + c]);
                    Assert.That(output[(i * problem.NumHeads + h) * problem.ValueHeadDim + c], Is.EqualTo(mean).Within(Rounding));
                }
            }
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(6)]
    public void SharedKeyValueHeadsEqualRepeatedOnes(int numKvHeads)
    {
        AttentionProblem problem = s_problem with { NumHeads = 6, NumKvHeads = numKvHeads, IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        (float[] repeatedOutput, float[] repeatedLse) = target.Run(
            problem with { NumKvHeads = 6 }, q, RepeatHeads(k, problem, problem.HeadDim), RepeatHeads(v, problem, problem.ValueHeadDim));
        Assert.That(output, Is.EqualTo(repeatedOutput).Within(Rounding));
        Assert.That(lse, Is.EqualTo(repeatedLse).Within(Rounding));
    }

    [Test]
    public void ABatchEqualsSeparateCalls()
    {
        AttentionProblem one = s_problem with { IsCausal = true }, three = one with { BatchSize = 3 };
        (float[] q, float[] k, float[] v) = Inputs(three);
        (float[] output, float[] lse) = target.Run(three, q, k, v);
        for (int b = 0; b < 3; b++)
        {
            (float[] singleOutput, float[] singleLse) = target.Run(one, Third(q, b), Third(k, b), Third(v, b));
            Assert.That(Third(output, b), Is.EqualTo(singleOutput).Within(Rounding));
            Assert.That(Third(lse, b), Is.EqualTo(singleLse).Within(Rounding));
        }

        static float[] Third(float[] values, int index) => values[(index * values.Length / 3)..((index + 1) * values.Length / 3)];
    }

    [Test]
    public void ASingleRowIsTheSameWithAndWithoutTheCausalMask()
    {
        AttentionProblem problem = s_problem with { QueryLength = 1 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        Assert.That(target.Run(problem with { IsCausal = true }, q, k, v).Output, Is.EqualTo(target.Run(problem, q, k, v).Output));
    }

    [Test]
    public void EveryRunGivesTheSameBits()
    {
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (float[] output, float[] lse) = target.Run(problem, q, k, v);
        for (int run = 1; run < 10; run++)
        {
            (float[] again, float[] lseAgain) = target.Run(problem, q, k, v);
            Assert.That(again, Is.EqualTo(output));
            Assert.That(lseAgain, Is.EqualTo(lse));
        }
    }

    private static (float[] Query, float[] Key, float[] Value) Inputs(in AttentionProblem problem) => (
        Normal(1, problem.BatchSize * problem.QueryLength * problem.NumHeads * problem.HeadDim),
        Normal(2, problem.BatchSize * problem.KvLength * problem.NumKvHeads * problem.HeadDim),
        Normal(3, problem.BatchSize * problem.KvLength * problem.NumKvHeads * problem.ValueHeadDim));

    // Sums of twelve uniform numbers: near enough to normal.
    private static float[] Normal(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Enumerable.Range(0, 12).Sum(_ => random.NextDouble()) - 6))];
    }

    private static float[] Rows(float[] values, int[] order, int width) => [.. order.SelectMany(row => values[(row * width)..((row + 1) * width)])];

    private static float[] Poisoned(float[] values, int from) => [.. values.Select((x, i) => i < from ? x : float.NaN)];

    private static float[] RepeatHeads(float[] values, AttentionProblem problem, int width) => [..
        from row in Enumerable.Range(0, problem.KvLength)
        from head in Enumerable.Range(0, problem.NumHeads)
        from c in Enumerable.Range(0, width)
        select values[(row * problem.NumKvHeads + head / problem.GroupSize) * width + c]];
}
