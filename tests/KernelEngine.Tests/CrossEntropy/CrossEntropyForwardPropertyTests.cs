using static KernelEngine.CrossEntropyProblem;
using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>The forward pass on every kernel: plain formulas in double precision, and laws that hold whatever the numbers.</summary>
[TestFixtureSource(nameof(Kernels))]
public sealed class CrossEntropyForwardPropertyTests(CrossEntropyTarget<CrossEntropyProblem> target)
{
    // Of the largest value and the largest log-sum-exp, of which losses and entropies are differences, at least 1: float32 sums
    // of at most a few hundred terms.
    private const double Rounding = 5e-6;

    private static readonly int[] s_rowOutputs =
        [LossOutput, ZLossOutput, Lse, LogProbability, Entropy];

    public static IEnumerable<TestFixtureData> Kernels() =>
        CrossEntropyTarget<CrossEntropyProblem>.Fixtures(KernelEngine.CrossEntropy.ForwardOperation);

    [TestCase("n=20 v=70 d=16")]
    [TestCase("n=20 v=70 d=16 bias biastype=bf16 f16")]
    [TestCase("n=20 v=300 d=33 bf16")]
    [TestCase("n=20 v=70 d=16 bias softcap=15")]
    [TestCase("n=20 v=70 d=16 temperature=0.6")]
    [TestCase("n=20 v=70 d=16 bias softcap=20 temperature=3")]
    [TestCase("n=20 v=70 d=16 sum")]
    [TestCase("n=20 v=70 d=16 none")]
    [TestCase("n=20 v=70 d=16 divisor")]
    [TestCase("n=20 v=70 d=16 smoothing=0.3")]
    [TestCase("n=20 v=70 d=16 zloss=0.02")]
    [TestCase("n=20 v=70 d=16 zloss=0.02 none")]
    [TestCase("n=20 v=70 d=16 classweights")]
    [TestCase("n=20 v=70 d=16 tokenweights none")]
    [TestCase("n=20 v=70 d=16 classweights smoothing=0.5 tokenweights zloss=0.1")]
    [TestCase("n=20 v=70 d=16 classweights smoothing=0.5 tokenweights zloss=0.1 none")]
    [TestCase("n=20 v=70 d=16 classweights smoothing=0.5 tokenweights zloss=0.1 sum")]
    [TestCase("n=20 v=70 d=16 classweights smoothing=0.5 tokenweights zloss=0.1 divisor")]
    [TestCase("n=20 v=70 d=16 ignore=3")]
    [TestCase("n=20 v=70 d=16 shift=1")]
    [TestCase("n=20 v=70 d=16 seq=5 shift=2 none")]
    [TestCase("n=20 v=70 d=16 seq=4 shift=3 tokenweights")]
    [TestCase("n=20 v=70 d=16 seq=1 smoothing=0.1")]
    [TestCase("n=24 v=90 d=20 seq=8 shift=1 bias softcap=20 temperature=0.9 smoothing=0.2 zloss=0.01 classweights tokenweights bf16")]
    public void MatchesTheFormulas(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>(text);
        CheckFormulas(problem, Draw(problem));
    }

    [Test]
    public void EveryClassCanBeTheLabel()
    {
        // So a label stands at the first and the last column of every tile, whatever its width.
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=300 v=300 d=3 none bias");
        double[]?[] inputs = With(Draw(problem), Targets, [.. Enumerable.Range(0, 300).Select(v => (double)v)]);
        CheckFormulas(problem, inputs);
    }

    [Test]
    public void AllPositionsMayHaveOneLabel()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=70 v=20 d=5 none smoothing=0.1");
        CheckFormulas(problem, With(Draw(problem), Targets, [.. Enumerable.Repeat(19.0, 70)]));
    }

    [TestCase("n=20 v=70 d=16 bias smoothing=0.2 zloss=0.01 classweights tokenweights")]
    [TestCase("n=20 v=300 d=3 softcap=20")]
    public void OrderOfTheClassesDoesNotMatter(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = Draw(problem);
        int[] order = Shuffled(problem.VocabSize), places = new int[order.Length];
        for (int v = 0; v < order.Length; v++)
            places[order[v]] = v;
        double[]?[] permuted = With(inputs, Classifier, Rows(inputs[Classifier]!, order, problem.HiddenSize));
        foreach (int operand in (int[])[Bias, ClassWeights])
            permuted[operand] = inputs[operand] is { } values ? Rows(values, order, 1) : null;
        permuted[Targets] = Array.ConvertAll(inputs[Targets]!, y => y < 0 ? y : places[(int)y]);
        double[]?[] expected = target.Run(problem, inputs), outputs = target.Run(problem, permuted);
        CheckRows(outputs, expected);
        Assert.That(Rows(outputs[MeanLogit]!, places, 1), Is.EqualTo(expected[MeanLogit]).Within(Rounding));
        Assert.That(
            outputs[BestClass]!.Select(v => v < 0 ? v : order[(int)v]), Is.EqualTo(expected[BestClass]));
        Assert.That(outputs[Accuracy], Is.EqualTo(expected[Accuracy]));
    }

    [Test]
    public void AConstantInEveryBiasOnlyMovesTheLogits()
    {
        const double Constant = 8;
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=20 v=70 d=16 bias smoothing=0.2 classweights none");
        double[]?[] inputs = Draw(problem);
        double[]?[] expected = target.Run(problem, inputs);
        double[]?[] outputs = target.Run(
            problem, With(inputs, Bias, Array.ConvertAll(inputs[Bias]!, b => b + Constant)));
        foreach (int operand in (int[])[LossOutput, LogProbability, Entropy])
            Assert.That(outputs[operand], Is.EqualTo(expected[operand]).Within(2 * Rounding * Constant), Name(operand));
        Assert.That(outputs[BestClass], Is.EqualTo(expected[BestClass]));
        for (int k = 0; k < problem.Loss.Positions; k++)
        {
            double moved = expected[BestClass]![k] < 0 ? 0 : Constant;
            Assert.That(outputs[Lse]![k], Is.EqualTo(expected[Lse]![k] + moved).Within(2 * Rounding * Constant));
        }
    }

    [Test]
    public void EveryRunGivesTheSameBits()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=60 v=300 d=16 bias softcap=15 smoothing=0.2 zloss=0.01 classweights");
        double[]?[] inputs = Draw(problem), first = target.Run(problem, inputs);
        for (int run = 1; run < 6; run++)
            Assert.That(target.Run(problem, inputs), Is.EqualTo(first));
    }

    // Hidden rows of ignored labels, and those at the end of a sequence, whose label would be in the next, are not read.
    [TestCase("n=20 v=70 d=16 bias none")]
    [TestCase("n=20 v=70 d=16 smoothing=0.1 zloss=0.1 tokenweights")]
    [TestCase("n=24 v=70 d=16 seq=6 shift=2 none")]
    public void IgnoredRowsMayHoldAnything(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = Draw(problem), expected = target.Run(problem, inputs);
        double[] hidden = [.. inputs[Hidden]!];
        HashSet<int> read = [];
        for (int k = 0; k < problem.Loss.Positions; k++)
        {
            if (inputs[Targets]![problem.Loss.TargetRow(k)] >= 0)
                read.Add(problem.Loss.HiddenRow(k));
            else
                CheckSkipped(problem, expected, k);
        }
        for (int row = 0; row < problem.Loss.Rows; row++)
        {
            if (!read.Contains(row))
                hidden.AsSpan(row * problem.HiddenSize, problem.HiddenSize).Fill(double.NaN);
        }
        Assert.That(read, Has.Count.InRange(1, problem.Loss.Rows - 1));
        Assert.That(target.Run(problem, With(inputs, Hidden, hidden)), Is.EqualTo(expected));
    }

    [TestCase("n=0 v=5 d=4", 0)]
    [TestCase("n=0 v=5 d=4 none", 0)]
    [TestCase("n=0 v=5 d=4 sum", 0)]
    [TestCase("n=0 v=5 d=4 nanempty", double.NaN)]
    [TestCase("n=9 v=5 d=4", 0)]
    [TestCase("n=9 v=5 d=4 none zloss=1", 0)]
    [TestCase("n=9 v=5 d=4 sum smoothing=0.1", 0)]
    [TestCase("n=9 v=5 d=4 divisor", 0)]
    [TestCase("n=9 v=5 d=4 nanempty", double.NaN)]
    [TestCase("n=9 v=5 d=4 nanempty sum", 0)]
    [TestCase("n=9 v=5 d=4 shift=1 zloss=1 tokenweights classweights", 0)]
    public void TheLossOfNothingIsNothing(string text, double loss)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = With(Draw(problem), Targets, [.. Enumerable.Repeat(-100.0, problem.Loss.Rows)]);
        double[]?[] outputs = target.Run(problem, inputs);
        Assert.That(outputs[LossOutput], Has.Length.EqualTo(problem.Loss.LossCount).And.All.EqualTo(loss));
        Assert.That(outputs[ZLossOutput], Is.All.EqualTo(loss));
        Assert.That(outputs[Accuracy], Is.All.Zero);
        Assert.That(outputs[MeanLogit], Is.All.Zero);
        for (int k = 0; k < problem.Loss.Positions; k++)
            CheckSkipped(problem, outputs, k);
    }

    [Test]
    public void WeightsOfZeroCountForNothing()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=9 v=5 d=4 tokenweights zloss=0.1");
        double[]?[] outputs = target.Run(problem, With(Draw(problem), TokenWeights, new double[9]));
        Assert.That(outputs[LossOutput], Is.All.Zero);
        Assert.That(outputs[ZLossOutput], Is.All.Zero);
    }

    [Test]
    public void TheOnlyClassIsCertain()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=20 v=1 d=16 bias none");
        double[]?[] outputs = target.Run(problem, Draw(problem));
        Assert.That(outputs[LossOutput], Is.All.Zero);
        Assert.That(outputs[LogProbability], Is.All.Zero);
        Assert.That(outputs[Entropy], Is.All.EqualTo(0).Within(Rounding));
        Assert.That(outputs[Accuracy], Is.All.EqualTo(1));
    }

    [Test]
    public void EqualLogitsHaveTheEntropyOfAllClassesAndTheFirstIsBest()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=7 v=300 d=4 none");
        double[]?[] outputs = target.Run(problem, With(With(Draw(problem), Hidden, new double[7 * 4]), Targets, [0, 1, 2, 0, 4, 5, 6]));
        foreach (int operand in (int[])[LossOutput, Lse, Entropy])
            Assert.That(outputs[operand], Is.All.EqualTo(Math.Log(300)).Within(1e-6), Name(operand));
        Assert.That(outputs[BestClass], Is.All.Zero, "the lowest of equal ones");
        Assert.That(outputs[Accuracy]![0], Is.EqualTo(2.0 / 7).Within(1e-7));
    }

    [TestCase(3, 250)]
    [TestCase(17, 18)]
    [TestCase(0, 299)]
    public void TheLowestOfEqualClassesIsBest(int first, int second)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=7 v=300 d=4 bias");
        double[]?[] inputs = Draw(problem);
        double[] classifier = [.. inputs[Classifier]!], bias = [.. inputs[Bias]!];
        classifier.AsSpan(first * 4, 4).CopyTo(classifier.AsSpan(second * 4));
        (bias[first], bias[second]) = (100, 100);
        double[]?[] outputs = target.Run(problem, With(With(inputs, Classifier, classifier), Bias, bias));
        Assert.That(outputs[BestClass]!.Where(v => v >= 0), Is.All.EqualTo(first));
    }

    [Test]
    public void LargeLogitsNeitherOverflowNorVanish()
    {
        // Logits are ±10,000, and 9,999.5 where the bias says so.
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=4 v=130 d=1 bias none");
        double[]?[] inputs = Draw(problem);
        inputs[Hidden] = [1e4, -1e4, 1e4, -1e4];
        inputs[Classifier] = [.. Enumerable.Range(0, 130).Select(v => v % 2 == 0 ? 1.0 : -1)];
        inputs[Bias] = [.. Enumerable.Range(0, 130).Select(v => v < 100 ? 0 : -0.5)];
        inputs[Targets] = [0, 0, 128, 129];
        double[] loss = target.Run(problem, inputs)[LossOutput]!;
        double others = Math.Log(50 + 15 * Math.Exp(-0.5)); // of 65 equal classes, 15 are half a nat less likely
        // Numbers near 10,000 are 0.001 apart.
        Assert.That(loss, Is.EqualTo((double[])[others, 2e4 + others, others + 0.5, others + 0.5]).Within(0.0025));
    }

    [Test]
    public void AClassWithABiasOfMinusInfinityIsNotThere()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=20 v=70 d=16 bias zloss=0.1 none");
        double[]?[] inputs = Draw(problem), masked = [.. inputs];
        int[] gone = [0, 17, 63, 64, 69], left = [.. Enumerable.Range(0, 70).Except(gone)];
        masked[Bias] = [.. inputs[Bias]!.Select((b, v) => gone.Contains(v) ? double.NegativeInfinity : b)];
        masked[Targets] = Array.ConvertAll(inputs[Targets]!, y => gone.Contains((int)y) ? 1 : y);
        CheckFormulas(problem, masked);
        double[]?[] without = [.. masked];
        without[Classifier] = Rows(inputs[Classifier]!, left, 16);
        without[Bias] = Rows(inputs[Bias]!, left, 1);
        without[Targets] = Array.ConvertAll(masked[Targets]!, y => y < 0 ? y : Array.IndexOf(left, (int)y));
        CheckRows(target.Run(problem, masked), target.Run(problem with { Loss = problem.Loss with { Classes = left.Length } }, without));
    }

    [Test]
    public void AMaskedLabelCostsInfinitely()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=20 v=70 d=16 bias none");
        double[]?[] inputs = Draw(problem);
        double[] bias = [.. inputs[Bias]!], targets = [.. inputs[Targets]!];
        bias[30] = double.NegativeInfinity;
        (targets[4], targets[5]) = (30, 31);
        double[]?[] outputs = CheckFormulas(problem, With(With(inputs, Bias, bias), Targets, targets));
        Assert.That(outputs[LossOutput]![4], Is.EqualTo(double.PositiveInfinity));
        Assert.That(outputs[LogProbability]![4], Is.EqualTo(double.NegativeInfinity));
        Assert.That(double.IsFinite(outputs[LossOutput]![5]));
    }

    [Test]
    public void WithoutAnyClassThereIsNoLoss()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=5 v=70 d=16 bias none");
        double[]?[] inputs = With(Draw(problem), Bias, [.. Enumerable.Repeat(double.NegativeInfinity, 70)]);
        inputs[Targets] = [0, 1, -100, 3, 69];
        double[]?[] outputs = target.Run(problem, inputs);
        foreach (int k in (int[])[0, 1, 3, 4])
        {
            Assert.That(outputs[Lse]![k], Is.EqualTo(double.NegativeInfinity));
            Assert.That(outputs[LossOutput]![k], Is.NaN);
        }
        CheckSkipped(problem, outputs, 2);
    }

    [TestCase(double.NaN)]
    [TestCase(double.PositiveInfinity)]
    [TestCase(double.NegativeInfinity)]
    public void ARowThatIsNoNumberStaysAlone(double poison)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=60 v=130 d=16 none zloss=0.1 smoothing=0.1");
        double[]?[] inputs = Draw(problem);
        inputs[Targets] = Array.ConvertAll(inputs[Targets]!, y => Math.Max(y, 0));
        double[] hidden = [.. inputs[Hidden]!];
        hidden[7 * 16 + 3] = poison;
        double[]?[] expected = target.Run(problem, inputs), outputs = target.Run(problem, With(inputs, Hidden, hidden));
        foreach (int operand in s_rowOutputs)
        {
            Assert.That(outputs[operand]![7], Is.NaN, Name(operand));
            Assert.That(Without7(outputs[operand]!), Is.EqualTo(Without7(expected[operand]!)), Name(operand));
        }
        Assert.That(Without7(outputs[BestClass]!), Is.EqualTo(Without7(expected[BestClass]!)));

        static IEnumerable<double> Without7(double[] values) => values.Where((_, k) => k != 7);
    }

    [TestCase("n=20 v=300 d=16 bias softcap=15 smoothing=0.2 zloss=0.01")]
    [TestCase("n=20 v=70 d=16 none classweights zloss=0.01")]
    [TestCase("n=20 v=70 d=16 shard=70 smoothing=0.1")]
    public void AnOutputIsTheSameWithoutTheOthers(string text)
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = Draw(problem), all = target.Run(problem, inputs), simple = target.Run(problem, inputs, Entropy);
        int[] optional = [.. Enumerable.Range(0, problem.OperandCount)
            .Where(i => problem.GetOperand(i) is { Role: OperandRole.Output, IsOptional: true })];
        // The entropy takes another sum besides that of a log-sum-exp, and may have both taken otherwise: that is rounding.
        double bar = Rounding * Largest([1, .. all.SelectMany(x => x ?? [])]);
        foreach (int operand in optional.Where(i => i != Entropy))
            Assert.That(simple[operand], Is.EqualTo(all[operand]).Within(bar), $"{Name(operand)} without entropy");
        foreach (int kept in optional)
        {
            double[]?[] alone = target.Run(problem, inputs, [.. optional.Where(i => i != kept)]);
            double[]?[] missing = target.Run(problem, inputs, kept);
            Assert.That(alone[kept], Is.EqualTo(kept == Entropy ? all[kept] : simple[kept]), $"{Name(kept)} alone");
            Assert.That(missing, Is.EqualTo(With(kept == Entropy ? simple : all, kept, null)), $"without {Name(kept)}");
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(5)]
    public void MicroBatchesWithADivisorAreOneBatch(int rows)
    {
        var whole = ProblemText.Parse<CrossEntropyProblem>("n=20 v=70 d=16 smoothing=0.1");
        var part = ProblemText.Parse<CrossEntropyProblem>($"n={rows} v=70 d=16 smoothing=0.1 divisor");
        double[]?[] inputs = Draw(whole);
        double counted = inputs[Targets]!.Count(y => y >= 0), sum = 0;
        for (int start = 0; start < 20; start += rows)
        {
            double[]?[] batch = [.. inputs];
            batch[Hidden] = inputs[Hidden]![(start * 16)..((start + rows) * 16)];
            batch[Targets] = inputs[Targets]![start..(start + rows)];
            batch[Divisor] = [counted];
            sum += target.Run(part, batch)[LossOutput]![0];
        }
        Assert.That(sum, Is.EqualTo(target.Run(whole, inputs)[LossOutput]![0]).Within(Rounding));
    }

    [TestCase("n=24 v=70 d=16 seq=6", 1)]
    [TestCase("n=24 v=70 d=16 seq=8 bias smoothing=0.1", 3)]
    [TestCase("n=24 v=70 d=16", 2)]
    public void AShiftIsASlice(string text, int shift)
    {
        var shifted = ProblemText.Parse<CrossEntropyProblem>($"{text} shift={shift}");
        double[]?[] inputs = Draw(shifted), sliced = [.. inputs];
        CrossEntropyLoss loss = shifted.Loss;
        int[] positions = [.. Enumerable.Range(0, loss.Positions)];
        sliced[Hidden] = Rows(inputs[Hidden]!, [.. positions.Select(loss.HiddenRow)], 16);
        sliced[Targets] = Rows(inputs[Targets]!, [.. positions.Select(loss.TargetRow)], 1);
        CrossEntropyProblem plain = shifted with { Loss = loss with { Rows = positions.Length, Shift = 0, SequenceLength = 0 } };
        Assert.That(target.Run(shifted, inputs), Is.EqualTo(target.Run(plain, sliced)));
    }

    private double[]?[] CheckFormulas(in CrossEntropyProblem problem, double[]?[] inputs)
    {
        double[]?[] outputs = target.Run(problem, inputs);
        CrossEntropyAnswer answer = new CrossEntropyOracle(problem, inputs).Evaluate();
        foreach ((int operand, double[] values) in answer.Outputs)
            Assert.That(outputs[operand], Is.EqualTo(values).Within(Bar(values, answer.Lse)), problem.GetOperand(operand).Name);
        return outputs;
    }

    private static void CheckRows(double[]?[] outputs, double[]?[] expected)
    {
        foreach (int operand in s_rowOutputs)
            Assert.That(outputs[operand], Is.EqualTo(expected[operand]).Within(Bar(expected[operand]!, expected[Lse]!)), Name(operand));
    }

    private static void CheckSkipped(in CrossEntropyProblem problem, double[]?[] outputs, int position)
    {
        foreach (int operand in s_rowOutputs)
        {
            if (outputs[operand]!.Length == problem.Loss.Positions && problem.Loss.LossCount == problem.Loss.Positions)
                Assert.That(outputs[operand]![position], Is.Zero, Name(operand));
        }
        Assert.That(outputs[BestClass]![position], Is.EqualTo(-1));
    }

    private static double Bar(double[] expected, double[] lse) => Rounding * Largest([1, .. expected, .. lse]);

    private static string Name(int operand) => ProblemText.Parse<CrossEntropyProblem>("n=1 v=1 d=1").GetOperand(operand).Name;
}
