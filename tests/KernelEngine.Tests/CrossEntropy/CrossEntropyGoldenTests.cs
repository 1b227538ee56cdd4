using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;
using Backward = KernelEngine.CrossEntropyBackwardProblem;
using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>Real models on real stories, whole and in shards, on every kernel.</summary>
public sealed class CrossEntropyGoldenTests
{
    // Of the largest value, at least 1 for losses: float32 sums of at most 2,048 terms. In gradients, an error of a logit near 20 is
    // the relative error of its probability.
    private const double Rounding = 2e-6, GradientRounding = 1e-5;

    // All of the smaller model and 38 rows of the other: the plain kernels take a tenth of a second.
    private const double FlopsOfAPart = 2e7;

    private static readonly string[] s_models = ["tinyllamas-stories260K", "tinystories-656K"];

    [TestCaseSource(nameof(ForwardCases))]
    public void LossesAreThoseOfTheAnswer(CrossEntropyTarget<CrossEntropyProblem> target, string model)
    {
        CrossEntropyGolden golden = CrossEntropyGolden.Open(model), part = Part(golden, target.DeviceName, 1, double.MaxValue);
        Check(part, target.Run(WithoutReduction(part.Problem), part.Inputs));
        if (part.Rows < golden.Rows)
            return;
        double mean = golden.Nll.Average();
        Assert.That(target.Run(golden.Problem, golden.Inputs)[Forward.LossOutput], Is.All.EqualTo(mean).Within(Rounding * mean));
    }

    [TestCaseSource(nameof(ShardCases))]
    public void LossesOfShardsAreThoseOfTheAnswer(CrossEntropyTarget<CrossEntropyProblem> target, string model, int shards)
    {
        CrossEntropyGolden part = Part(CrossEntropyGolden.Open(model), target.DeviceName, 1, FlopsOfAPart);
        foreach (bool areMergedInPairs in (bool[])[false, true])
            Check(part, CrossEntropyShards.Evaluate(target, WithoutReduction(part.Problem), part.Inputs, shards, areMergedInPairs));
    }

    // What rounding to bf16 changes of the largest logit at most changes a log-sum-exp at most, and a loss twice that.
    [TestCaseSource(nameof(ForwardCases))]
    public void LossesInBFloat16AreAsFarOffAsTheirInputs(CrossEntropyTarget<CrossEntropyProblem> target, string model)
    {
        CrossEntropyGolden part = Part(CrossEntropyGolden.Open(model), target.DeviceName, 1, FlopsOfAPart);
        CrossEntropyGolden rounded = part with { Hidden = Round(part.Hidden), Classifier = Round(part.Classifier) };
        CrossEntropyProblem problem = WithoutReduction(part.Problem) with { Type = DataType.BFloat16 };
        double[]?[] outputs = target.Run(problem, rounded.Inputs);
        CrossEntropyAnswer answer = new CrossEntropyOracle(problem, rounded.Inputs).Evaluate();
        Assert.That(outputs[Forward.Lse], Is.EqualTo(answer.Lse).Within(Rounding * Largest([1, .. answer.Lse])));
        Assert.That(outputs[Forward.LossOutput], Is.EqualTo(answer.Loss).Within(Rounding * Largest([1, .. answer.Lse])));
        for (int k = 0; k < part.Rows; k++)
        {
            double change = Enumerable.Range(0, part.Classes).Max(v => Math.Abs(Logit(part, k, v) - Logit(rounded, k, v))) + 1e-5;
            Assert.That(outputs[Forward.Lse]![k], Is.EqualTo(part.Lse[k]).Within(change), $"row {k}");
            Assert.That(outputs[Forward.LossOutput]![k], Is.EqualTo(part.Nll[k]).Within(2 * change), $"row {k}");
        }
    }

    [TestCaseSource(nameof(BackwardCases))]
    public void GradientsAreThoseOfTheAnswer(CrossEntropyTarget<CrossEntropyBackwardProblem> target, string model, int shards)
    {
        CrossEntropyGolden golden = CrossEntropyGolden.Open(model);
        CrossEntropyGolden part = Part(golden, target.DeviceName, 3, shards == 1 ? double.MaxValue : 3 * FlopsOfAPart);
        // The answer is that of the mean over all rows: those of a part are divided by as many.
        CrossEntropyProblem forward = part.Problem with { Loss = part.Problem.Loss with { Reduction = CrossEntropyReduction.Divisor } };
        double[]?[] inputs = With(part.Inputs, Forward.Divisor, [golden.Rows]);
        var problem = new CrossEntropyBackwardProblem(forward);
        double[]?[] outputs = shards == 1 ? target.Run(problem, inputs) : CrossEntropyShards.Differentiate(target, problem, inputs, shards);
        // The rows of a part may all be foretold, with gradients that are nothing but rounding: the measure is that of all rows.
        Check(outputs[Backward.GradHidden], part.GradHidden, Largest(golden.GradHidden));
        if (part.Rows == golden.Rows)
            Check(outputs[Backward.GradClassifier], golden.GradClassifier, Largest(golden.GradClassifier));

        static void Check(double[]? actual, double[] expected, double scale) =>
            Assert.That(actual, Is.EqualTo(expected).Within(GradientRounding * scale));
    }

    public static IEnumerable<TestCaseData> ForwardCases() => Cases(KernelEngine.CrossEntropy.ForwardOperation, null);

    public static IEnumerable<TestCaseData> ShardCases() => Cases(KernelEngine.CrossEntropy.ForwardOperation, [1, 2, 3, 7]);

    public static IEnumerable<TestCaseData> BackwardCases() => Cases(KernelEngine.CrossEntropy.BackwardOperation, [1, 2, 3, 7]);

    private static IEnumerable<TestCaseData> Cases<TProblem>(Operation<TProblem> operation, int[]? shards)
        where TProblem : struct, IProblem<TProblem>
    {
        foreach (CrossEntropyTarget<TProblem> target in CrossEntropyTarget<TProblem>.All(operation))
        {
            foreach (string model in s_models)
            {
                foreach (int count in shards ?? [0])
                {
                    TestCaseData data = shards is null
                        ? new TestCaseData(target, model).SetArgDisplayNames(target.ToString(), model)
                        : new TestCaseData(target, model, count).SetArgDisplayNames(target.ToString(), model, $"{count} shards");
                    yield return TestDevices.CategoryOf(target.DeviceName) is { } category ? data.SetCategory(category) : data;
                }
            }
        }
    }

    // As many rows as an operation may take that has some times the products of the forward pass.
    private static CrossEntropyGolden Part(CrossEntropyGolden golden, string deviceName, int products, double flops)
    {
        double most = TestDevices.KindOf(deviceName) == DeviceKinds.Simulator ? TestDevices.SimulatorFlopLimit : flops;
        return golden.Head((int)Math.Min(golden.Rows, most / (products * golden.Problem.Flops / golden.Rows)));
    }

    private static CrossEntropyProblem WithoutReduction(in CrossEntropyProblem problem) =>
        problem with { Loss = problem.Loss with { Reduction = CrossEntropyReduction.None } };

    private static void Check(CrossEntropyGolden golden, double[]?[] outputs)
    {
        Assert.That(outputs[Forward.Lse], Is.EqualTo(golden.Lse).Within(Rounding * Largest([1, .. golden.Lse])));
        Assert.That(outputs[Forward.LossOutput], Is.EqualTo(golden.Nll).Within(Rounding * Largest([1, .. golden.Lse])));
    }

    private static double Logit(CrossEntropyGolden golden, int row, int v) => Enumerable.Range(0, golden.HiddenSize)
        .Sum(c => golden.Hidden[row * golden.HiddenSize + c] * golden.Classifier[v * golden.HiddenSize + c]);

    private static double[] Round(double[] values) => Array.ConvertAll(values, x => (double)BFloat16.FromSingle((float)x).ToSingle());
}
