using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;
using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>The gradients on every kernel: slopes of a double-precision loss, and laws that hold whatever the numbers.</summary>
[TestFixtureSource(nameof(Kernels))]
public sealed class CrossEntropyGradientTests(CrossEntropyTarget<CrossEntropyBackwardProblem> target)
{
    // Of the largest gradient of a tensor: float32 sums of a few hundred terms, behind a float32 log-sum-exp.
    private const double Rounding = 1e-5;

    private static readonly (int Input, int Gradient)[] s_gradients =
    [
        (Forward.Hidden, Backward.GradHidden), (Forward.Classifier, Backward.GradClassifier),
        (Forward.Bias, Backward.GradBias),
    ];

    public static IEnumerable<TestFixtureData> Kernels() =>
        CrossEntropyTarget<CrossEntropyBackwardProblem>.Fixtures(KernelEngine.CrossEntropy.BackwardOperation);

    [TestCase("n=7 v=11 d=3 bias")]
    [TestCase("n=7 v=11 d=3 bias softcap=3")]
    [TestCase("n=7 v=11 d=3 bias temperature=0.6")]
    [TestCase("n=7 v=11 d=3 bias softcap=2 temperature=1.7")]
    [TestCase("n=7 v=11 d=3 bias smoothing=0.3")]
    [TestCase("n=7 v=11 d=3 bias zloss=0.05")]
    [TestCase("n=7 v=11 d=3 bias classweights")]
    [TestCase("n=7 v=11 d=3 bias tokenweights")]
    [TestCase("n=7 v=11 d=3 bias classweights tokenweights smoothing=0.4 zloss=0.1")]
    [TestCase("n=7 v=11 d=3 bias classweights tokenweights smoothing=0.4 zloss=0.1 sum")]
    [TestCase("n=7 v=11 d=3 bias classweights tokenweights smoothing=0.4 zloss=0.1 none")]
    [TestCase("n=7 v=11 d=3 bias classweights tokenweights smoothing=0.4 zloss=0.1 divisor")]
    [TestCase("n=7 v=11 d=3 sum")]
    [TestCase("n=7 v=11 d=3 none")]
    [TestCase("n=7 v=11 d=3 divisor zloss=0.1")]
    [TestCase("n=7 v=11 d=3 bias gradlse")]
    [TestCase("n=7 v=11 d=3 bias gradentropy")]
    [TestCase("n=7 v=11 d=3 bias gradlse gradentropy none softcap=3 temperature=0.8")]
    [TestCase("n=7 v=11 d=3 bias gradlse gradentropy sum classweights tokenweights smoothing=0.4 zloss=0.1 softcap=4")]
    [TestCase("n=8 v=11 d=3 bias shift=1")]
    [TestCase("n=8 v=11 d=3 bias seq=4 shift=2 none gradlse tokenweights")]
    [TestCase("n=8 v=11 d=3 seq=2 shift=1 gradentropy ignore=4")]
    [TestCase("n=7 v=11 d=3 bias order")]
    [TestCase("n=7 v=11 d=3 bias filter=1e-12 order")]
    [TestCase("n=7 v=11 d=3 bias shard=4 first=3")]
    [TestCase("n=7 v=11 d=3 bias shard=6 smoothing=0.4 classweights zloss=0.1 gradlse gradentropy none softcap=3")]
    [TestCase("n=7 v=11 d=3 bias shard=5 first=6 smoothing=0.2 tokenweights divisor")]
    public void MatchesTheSlopesOfTheLoss(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        (double[]?[] inputs, double[]?[] whole) = DrawAfterForward(problem, 3);
        CheckSlopes(problem, inputs, whole);
    }

    // Also where the gradient of the loss is not given, which is 1.
    [TestCase("n=7 v=11 d=3 bias zloss=0.1")]
    [TestCase("n=7 v=11 d=3 bias none gradlse")]
    public void MatchesTheSlopesOfTheBareLoss(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        double[]?[] inputs = With(DrawAfterForward(problem, 3).Inputs, Backward.GradLoss, null);
        CheckSlopes(problem, inputs, inputs);
    }

    [TestCase("n=60 v=300 d=33 bias none gradlse")]
    [TestCase("n=60 v=300 d=33 bias sum smoothing=0.2 zloss=0.01 gradentropy")]
    [TestCase("n=60 v=300 d=8 bias temperature=2 classweights tokenweights smoothing=0.2")]
    public void TheGradientsOfARowsLogitsAddUpToThatOfItsLogSumExp(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        CrossEntropyLoss loss = problem.Forward.Loss;
        double[]?[] inputs = DrawAfterForward(problem).Inputs;
        double[] bias = target.Run(problem, inputs)[Backward.GradBias]!;
        double expected = 0;
        for (int k = 0; k < loss.Positions; k++)
        {
            if (inputs[Forward.Targets]![loss.TargetRow(k)] < 0)
                continue;
            double grad = inputs[Backward.GradLoss]![loss.Reduction == CrossEntropyReduction.None ? k : 0];
            expected += grad * 2 * loss.ZLoss * inputs[Backward.Lse]![k] + (inputs[Backward.GradLse]?[k] ?? 0);
        }
        Assert.That(bias.Sum(), Is.EqualTo(expected / problem.Forward.Temperature).Within(Rounding * Math.Max(1, bias.Sum(Math.Abs))));
    }

    [Test]
    public void EveryRunGivesTheSameBits()
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=60 v=300 d=16 bias softcap=15 smoothing=0.2 gradlse none");
        double[]?[] inputs = DrawAfterForward(problem).Inputs, first = target.Run(problem, inputs);
        for (int run = 1; run < 6; run++)
            Assert.That(target.Run(problem, inputs), Is.EqualTo(first));
    }

    [TestCase("n=40 v=300 d=16 bias softcap=15 smoothing=0.2 gradlse")]
    [TestCase("n=40 v=300 d=16 bias bf16 none filter=0.001 order")]
    [TestCase("n=40 v=300 d=16 bias shard=200 first=50")]
    public void AGradientIsTheSameWithoutTheOthers(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        double[]?[] inputs = DrawAfterForward(problem).Inputs, all = target.Run(problem, inputs);
        int[] gradients = [.. s_gradients.Select(g => g.Gradient)];
        foreach (int kept in gradients)
        {
            int[] others = [.. gradients.Where(g => g != kept)];
            Assert.That(target.Run(problem, inputs, others)[kept], Is.EqualTo(all[kept]), $"operand {kept} alone");
            double[]?[] rest = target.Run(problem, inputs, kept);
            foreach (int other in others)
                Assert.That(rest[other], Is.EqualTo(all[other]), $"operand {other} without {kept}");
        }
    }

    [TestCase("n=20 v=70 d=16 bias none")]
    [TestCase("n=20 v=70 d=16 bias smoothing=0.1 zloss=0.1 tokenweights gradlse gradentropy")]
    [TestCase("n=24 v=70 d=16 bias seq=6 shift=2 none")]
    public void IgnoredRowsMayHoldAnythingAndHaveNoGradient(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        CrossEntropyLoss loss = problem.Forward.Loss;
        double[]?[] inputs = DrawAfterForward(problem).Inputs, expected = target.Run(problem, inputs);
        double[] hidden = [.. inputs[Forward.Hidden]!], lse = [.. inputs[Backward.Lse]!];
        HashSet<int> read = [];
        for (int k = 0; k < loss.Positions; k++)
        {
            if (inputs[Forward.Targets]![loss.TargetRow(k)] >= 0)
                read.Add(loss.HiddenRow(k));
            else
                lse[k] = double.NaN;
        }
        int[] ignored = [.. Enumerable.Range(0, loss.Rows).Where(row => !read.Contains(row))];
        Assert.That(ignored, Has.Length.InRange(1, loss.Rows - 1));
        foreach (int row in ignored)
            hidden.AsSpan(row * 16, 16).Fill(double.NaN);
        double[]?[] outputs = target.Run(
            problem, With(With(inputs, Forward.Hidden, hidden), Backward.Lse, lse));
        Assert.That(outputs, Is.EqualTo(expected));
        Assert.That(Rows(outputs[Backward.GradHidden]!, ignored, 16), Is.All.Zero);
    }

    [TestCase("n=0 v=5 d=4 bias")]
    [TestCase("n=9 v=5 d=4 bias")]
    [TestCase("n=9 v=5 d=4 bias none gradlse")]
    [TestCase("n=9 v=5 d=4 bias sum gradentropy bf16")]
    [TestCase("n=9 v=5 d=4 bias nanempty zloss=0.1 smoothing=0.1")]
    [TestCase("n=9 v=5 d=4 bias seq=3 shift=1 divisor shard=2 first=1")]
    public void TheGradientOfNothingIsNothing(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        double[] ignored = [.. Enumerable.Repeat(-100.0, problem.Forward.Loss.Rows)];
        double[]?[] inputs = With(DrawAfterForward(problem).Inputs, Forward.Targets, ignored);
        double[]?[] outputs = target.Run(problem, inputs);
        foreach ((int _, int gradient) in s_gradients)
            Assert.That(outputs[gradient], Is.All.Zero, problem.GetOperand(gradient).Name);
    }

    [Test]
    public void TheOnlyClassLearnsNothing()
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=20 v=1 d=16 bias smoothing=0.1");
        double[]?[] outputs = target.Run(problem, DrawAfterForward(problem).Inputs);
        foreach ((int _, int gradient) in s_gradients)
            Assert.That(outputs[gradient], Is.All.EqualTo(0).Within(1e-5), problem.GetOperand(gradient).Name);
    }

    [Test]
    public void EveryClassCanBeTheLabel()
    {
        // So a label stands at the first and the last column of every tile, whatever its width.
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=300 v=300 d=3 sum bias");
        double[]?[] inputs = Draw(problem);
        inputs[Forward.Targets] = [.. Enumerable.Range(0, 300).Select(v => (double)v)];
        RunForward(problem, inputs);
        CheckDefinition(problem, inputs);
    }

    [Test]
    public void AClassWithABiasOfMinusInfinityLearnsNothing()
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=20 v=70 d=16 bias zloss=0.1 gradlse gradentropy none");
        double[]?[] inputs = Draw(problem);
        int[] gone = [0, 17, 63, 64, 69], left = [.. Enumerable.Range(0, 70).Except(gone)];
        inputs[Forward.Bias] = [.. inputs[Forward.Bias]!.Select((b, v) => gone.Contains(v) ? double.NegativeInfinity : b)];
        inputs[Forward.Targets] = Array.ConvertAll(inputs[Forward.Targets]!, y => gone.Contains((int)y) ? 1 : y);
        RunForward(problem, inputs);
        double[]?[] without = [.. inputs];
        without[Forward.Classifier] = Rows(inputs[Forward.Classifier]!, left, 16);
        without[Forward.Bias] = Rows(inputs[Forward.Bias]!, left, 1);
        without[Forward.Targets] = Array.ConvertAll(inputs[Forward.Targets]!, y => y < 0 ? y : Array.IndexOf(left, (int)y));
        CrossEntropyProblem smaller = problem.Forward with { Loss = problem.Forward.Loss with { Classes = left.Length } };
        double[]?[] outputs = target.Run(problem, inputs), expected = target.Run(problem with { Forward = smaller }, without);
        Check(Backward.GradHidden, outputs[Backward.GradHidden]!, expected);
        foreach ((int gradient, int width) in ((int, int)[])[(Backward.GradClassifier, 16), (Backward.GradBias, 1)])
        {
            Check(gradient, Rows(outputs[gradient]!, left, width), expected);
            Assert.That(Rows(outputs[gradient]!, gone, width), Is.All.Zero, problem.GetOperand(gradient).Name);
        }
    }

    [Test]
    public void LargeLogitsHaveGradients()
    {
        // Of classes at 10,000, −10,000 and half a nat below 10,000, the first is the label of row 0 and the second that of row 1.
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=2 v=130 d=1 bias sum");
        double[]?[] inputs = Draw(problem);
        inputs[Forward.Hidden] = [1e4, 1e4];
        inputs[Forward.Classifier] = [.. Enumerable.Range(0, 130).Select(v => v is 0 or 129 ? 1.0 : -1)];
        inputs[Forward.Bias] = [.. Enumerable.Range(0, 130).Select(v => v == 129 ? -0.5 : 0)];
        inputs[Forward.Targets] = [0, 1];
        inputs[Backward.GradLoss] = [1];
        RunForward(problem, inputs);
        double lse = inputs[Backward.Lse]![0], p = Math.Exp(1e4 - lse), half = Math.Exp(9999.5 - lse); // as exact as the stored lse
        double[] expected = new double[130];
        (expected[0], expected[1], expected[129]) = (2 * p - 1, -1, 2 * half);
        Assert.That(target.Run(problem, inputs)[Backward.GradBias], Is.EqualTo(expected).Within(Rounding));
    }

    [TestCase(double.NaN)]
    [TestCase(double.PositiveInfinity)]
    public void ARowThatIsNoNumberStaysAlone(double poison)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>("n=60 v=130 d=16 none zloss=0.1 smoothing=0.1");
        double[]?[] inputs = Draw(problem);
        inputs[Forward.Targets] = Array.ConvertAll(inputs[Forward.Targets]!, y => Math.Max(y, 0));
        RunForward(problem, inputs);
        double[] hidden = [.. inputs[Forward.Hidden]!], lse = [.. inputs[Backward.Lse]!];
        hidden[7 * 16 + 3] = poison;
        lse[7] = double.NaN;
        int[] others = [.. Enumerable.Range(0, 60).Where(k => k != 7)];
        double[] expected = target.Run(problem, inputs)[Backward.GradHidden]!;
        double[] outputs = target.Run(
            problem, With(With(inputs, Forward.Hidden, hidden), Backward.Lse, lse))[Backward.GradHidden]!;
        Assert.That(Rows(outputs, [7], 16), Is.All.NaN);
        Assert.That(Rows(outputs, others, 16), Is.EqualTo(Rows(expected, others, 16)));
    }

    [TestCase(1)]
    [TestCase(4)]
    public void MicroBatchesWithADivisorAreOneBatch(int rows)
    {
        var whole = ProblemText.Parse<CrossEntropyBackwardProblem>("n=20 v=70 d=16 bias zloss=0.1");
        var part = ProblemText.Parse<CrossEntropyBackwardProblem>($"n={rows} v=70 d=16 bias zloss=0.1 divisor");
        double[]?[] inputs = DrawAfterForward(whole).Inputs, expected = target.Run(whole, inputs);
        var sums = new double[Backward.Count][];
        for (int start = 0; start < 20; start += rows)
        {
            double[]?[] batch = [.. inputs];
            batch[Forward.Hidden] = inputs[Forward.Hidden]![(start * 16)..((start + rows) * 16)];
            foreach (int operand in (int[])[Forward.Targets, Backward.Lse])
                batch[operand] = inputs[operand]![start..(start + rows)];
            batch[Forward.Divisor] = [inputs[Forward.Targets]!.Count(y => y >= 0)];
            double[]?[] outputs = target.Run(part, batch);
            sums[Backward.GradHidden] = [.. sums[Backward.GradHidden] ?? [], .. outputs[Backward.GradHidden]!];
            foreach (int gradient in (int[])[Backward.GradClassifier, Backward.GradBias])
                sums[gradient] = sums[gradient] is { } sum ? Add(sum, outputs[gradient]!) : outputs[gradient]!;
        }
        foreach ((int _, int gradient) in s_gradients)
            Check(gradient, sums[gradient], expected);
    }

    [TestCase(2)]
    [TestCase(3)]
    [TestCase(7)]
    public void GradientsOfShardsAddUp(int shards)
    {
        const string Text = "n=20 v=90 d=16 bias smoothing=0.2 zloss=0.1 classweights softcap=15 gradlse gradentropy none";
        var whole = ProblemText.Parse<CrossEntropyBackwardProblem>(Text);
        double[]?[] inputs = DrawAfterForward(whole).Inputs, expected = target.Run(whole, inputs);
        double[]?[] sums = CrossEntropyShards.Differentiate(target, whole, inputs, shards);
        foreach ((int _, int gradient) in s_gradients)
            Check(gradient, sums[gradient]!, expected);
    }

    [Test]
    public void TheGivenOrderOfClassesChangesNoBit()
    {
        (string text, double[]?[] inputs) = Ordered("");
        double[]?[] expected = target.Run(ProblemText.Parse<CrossEntropyBackwardProblem>(text), inputs);
        double[]?[] ordered = With(inputs, Backward.Order, [.. Enumerable.Range(0, 300).Select(v => (double)v)]);
        Assert.That(target.Run(ProblemText.Parse<CrossEntropyBackwardProblem>(text + " order"), ordered), Is.EqualTo(expected));
    }

    [TestCase("")]
    [TestCase("filter=1e-12")]
    public void AnyOrderOfClassesChangesOnlyRounding(string filter)
    {
        (string text, double[]?[] inputs) = Ordered(filter);
        double[]?[] expected = target.Run(ProblemText.Parse<CrossEntropyBackwardProblem>(text), inputs);
        double[]?[] ordered = With(inputs, Backward.Order, Array.ConvertAll(Shuffled(300), v => (double)v));
        double[]?[] outputs = target.Run(ProblemText.Parse<CrossEntropyBackwardProblem>(text + " order"), ordered);
        foreach ((int _, int gradient) in s_gradients)
            Check(gradient, outputs[gradient]!, expected);
    }

    // Rows that are sure of their label leave most classes below the filter: logits spread over ±30.
    [TestCase("filter=0.000244140625")]
    [TestCase("filter=0.01")]
    [TestCase("filter=0.01 order")]
    [TestCase("filter=0.001 none")]
    [TestCase("filter=0.001 fullhidden")]
    [TestCase("filter=0.001 fullclassifier")]
    [TestCase("filter=1e-30")]
    public void AFilterLeavesOutNoMoreThanItSays(string options)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>($"n=64 v=300 d=16 bias {options}");
        CrossEntropyBackwardProblem exactProblem = problem with { FilterEpsilon = 0, IsHiddenFull = false, IsClassifierFull = false };
        double[]?[] inputs = Draw(problem);
        inputs[Forward.Hidden] = Array.ConvertAll(inputs[Forward.Hidden]!, x => 2 * x);
        RunForward(problem, inputs);
        double[]?[] filtered = target.Run(problem, inputs), exact = target.Run(exactProblem, inputs);
        Assert.That(filtered[Backward.GradBias], Is.EqualTo(exact[Backward.GradBias]), "the bias is never filtered");
        CrossEntropyLoss loss = problem.Forward.Loss;
        double[] targets = inputs[Forward.Targets]!, gradLoss = inputs[Backward.GradLoss]!;
        // |k| of each row; a filtered entry of it is below |k| · ε.
        bool isReduced = loss.Reduction != CrossEntropyReduction.None;
        int counted = targets.Count(y => y >= 0);
        double[] factors = [.. targets.Select((y, k) => y < 0 ? 0 : Math.Abs(isReduced ? gradLoss[0] / counted : gradLoss[k]))];
        double longest = Lengths(inputs[Forward.Classifier]!).Max();
        double[] hiddenErrors = Lengths(Subtract(Backward.GradHidden)), classifierErrors = Lengths(Subtract(Backward.GradClassifier));
        for (int k = 0; k < 64; k++)
        {
            double bound = problem.IsHiddenFull ? 0 : factors[k] * Math.Min(1, problem.FilterEpsilon * 300) * longest;
            Assert.That(hiddenErrors[k], Is.AtMost(bound + Slack(Backward.GradHidden)), $"row {k}");
        }
        double sum = factors.Zip(Lengths(inputs[Forward.Hidden]!), (factor, length) => factor * length).Sum();
        double classifierBound = problem.IsClassifierFull ? 0 : problem.FilterEpsilon * sum;
        Assert.That(classifierErrors, Is.All.AtMost(classifierBound + Slack(Backward.GradClassifier)));

        double[] Subtract(int gradient) => [.. filtered[gradient]!.Zip(exact[gradient]!, (x, y) => x - y)];

        double Slack(int gradient) => 4 * 1e-6 * Largest(exact[gradient]!); // sums in another order, over a row's 16 elements

        static double[] Lengths(double[] rows) => [.. rows.Chunk(16).Select(row => Math.Sqrt(row.Sum(x => x * x)))];
    }

    [TestCase("n=40 v=300 d=24 bias bf16 biastype=bf16")]
    [TestCase("n=40 v=300 d=24 bias f16 biastype=f16 softcap=20 smoothing=0.1")]
    [TestCase("n=40 v=300 d=24 bias bf16 none zloss=0.01 gradlse")]
    [TestCase("n=40 v=300 d=24 bias none gradentropy")]
    [TestCase("n=100 v=130 d=70 shard=70 first=50 classweights smoothing=0.1")]
    public void MatchesTheDefinitionAfterARealForward(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyBackwardProblem>(text);
        CheckDefinition(problem, DrawAfterForward(problem).Inputs);
    }

    private void CheckSlopes(in CrossEntropyBackwardProblem problem, double[]?[] inputs, double[]?[] whole)
    {
        double[]?[] outputs = target.Run(problem, inputs);
        CrossEntropyProblem forward = problem.Forward;
        int first = forward.FirstClass, end = first + forward.VocabSize;
        var oracle = new CrossEntropyOracle(Whole(problem).Forward, whole);
        foreach ((int input, int gradient) in s_gradients.Where(g => outputs[g.Gradient] is not null))
        {
            int skipped = input == Forward.Hidden ? 0 : first * whole[input]!.Length / forward.Loss.Classes;
            double[] slopes = [.. Enumerable.Range(skipped, inputs[input]!.Length).Select(i => oracle.Slope(input, i, first, end))];
            Assert.That(outputs[gradient], Is.EqualTo(slopes).Within(Rounding * Largest(slopes) + 1e-7), problem.GetOperand(gradient).Name);
        }
    }

    // The double-precision definition, which the slopes prove right.
    private void CheckDefinition(in CrossEntropyBackwardProblem problem, double[]?[] inputs)
    {
        Operation<CrossEntropyBackwardProblem> operation = KernelEngine.CrossEntropy.BackwardOperation;
        var reference = new CrossEntropyTarget<CrossEntropyBackwardProblem>(operation, operation.Reference, "reference");
        double[]?[] expected = reference.Run(problem, inputs), outputs = target.Run(problem, inputs);
        foreach ((int _, int gradient) in s_gradients.Where(g => expected[g.Gradient] is not null))
        {
            // Both are rounded to their storage: one step.
            DataType type = problem.GetOperand(gradient).Type;
            double step = type switch { DataType.BFloat16 => 1.0 / 256, DataType.Float16 => 1.0 / 2048, _ => 0 };
            double bar = (Rounding + step) * Largest(expected[gradient]!);
            Assert.That(outputs[gradient], Is.EqualTo(expected[gradient]).Within(bar), problem.GetOperand(gradient).Name);
        }
    }

    private static void Check(int gradient, double[] actual, double[]?[] expected) =>
        Assert.That(actual, Is.EqualTo(expected[gradient]).Within(Rounding * Largest(expected[gradient]!)), $"operand {gradient}");

    private static (string Text, double[]?[] Inputs) Ordered(string filter)
    {
        string text = $"n=60 v=300 d=16 bias softcap=15 smoothing=0.2 zloss=0.01 gradlse none {filter}";
        return (text, DrawAfterForward(ProblemText.Parse<CrossEntropyBackwardProblem>(text)).Inputs);
    }
}
