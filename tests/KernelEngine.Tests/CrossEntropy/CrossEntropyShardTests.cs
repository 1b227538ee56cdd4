using static KernelEngine.CrossEntropyProblem;
using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>A vocabulary cut in shards, each computed on its own and merged in any order, is the whole, on every kernel.</summary>
[TestFixtureSource(nameof(Kernels))]
public sealed class CrossEntropyShardTests(CrossEntropyTarget<CrossEntropyProblem> target)
{
    // Of the largest value and the largest log-sum-exp, of which losses and entropies are differences, at least 1.
    private const double Rounding = 5e-6;

    private static readonly int[] s_outputs =
    [
        LossOutput, ZLossOutput, Lse, LogProbability,
        Entropy, BestClass, Accuracy, MeanLogit,
    ];

    public static IEnumerable<TestFixtureData> Kernels() =>
        CrossEntropyTarget<CrossEntropyProblem>.Fixtures(KernelEngine.CrossEntropy.ForwardOperation);

    [Test]
    public void ShardsAreTheWhole(
        [Values(
            "n=20 v=90 d=16 bias", "n=20 v=90 d=16 smoothing=0.2 zloss=0.1 classweights tokenweights none softcap=15 bf16",
            "n=24 v=90 d=16 seq=6 shift=1 divisor")] string text,
        [Values(1, 2, 3, 7, 100)] int shards, // of 100, the last ten are empty
        [Values] bool areMergedInPairs)
    {
        var whole = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = Draw(whole), expected = target.Run(whole, inputs);
        double[]?[] actual = CrossEntropyShards.Evaluate(target, whole, inputs, shards, areMergedInPairs);
        double largest = Largest([1, .. expected[Lse]!]);
        foreach (int operand in s_outputs)
        {
            double bar = Rounding * Math.Max(largest, Largest(expected[operand]!));
            Assert.That(actual[operand], Is.EqualTo(expected[operand]).Within(bar), whole.GetOperand(operand).Name);
        }
    }

    [Test]
    public void AStateSaysWhatItsShardHas()
    {
        // Of 10 classes whose logits are 0 to 9, shards of 4, 5 and 1; the second holds the label.
        var whole = ProblemText.Parse<CrossEntropyProblem>("n=1 v=10 d=1 smoothing=0.1");
        double[]?[] inputs = [.. new double[Count][]];
        inputs[Hidden] = [1];
        inputs[Classifier] = [.. Enumerable.Range(0, 10).Select(v => (double)v)];
        inputs[Targets] = [4];
        foreach ((int first, int size) in ((int, int)[])[(0, 4), (4, 5), (9, 1)])
        {
            CrossEntropyProblem problem = whole with { ShardSize = size, FirstClass = first };
            double[]?[] outputs = target.Run(problem, ShardOf(problem, inputs));
            double[] logits = inputs[Classifier]![first..(first + size)];
            double max = first + size - 1;
            double[] expected =
            [
                max, logits.Sum(a => Math.Exp(a - max)), first == 4 ? 4 : double.NegativeInfinity, logits.Sum(),
                logits.Sum(a => Math.Exp(a - max) * (a - max)),
            ];
            Assert.That(outputs[State], Is.EqualTo(expected).Within(Rounding * 10));
            Assert.That(outputs[BestClass], Is.EqualTo((double[])[max]));
        }
    }

    [Test]
    public void AnEmptyShardAddsNothing()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=3 v=10 d=4 shard=0 first=7");
        double[]?[] inputs = With(Draw(problem), Targets, [1, -100, 9]), outputs = target.Run(problem, inputs);
        Assert.That(outputs[BestClass], Is.All.EqualTo(-1));
        foreach (int k in (int[])[0, 2])
        {
            Assert.That(outputs[State]![5 * k], Is.EqualTo(double.NegativeInfinity), "the largest logit");
            Assert.That(outputs[State]![5 * k + 1], Is.Zero, "the sum");
            Assert.That(outputs[State]![5 * k + 2], Is.EqualTo(double.NegativeInfinity), "the label's logit");
        }
        Assert.That(outputs[State]![5..10], Is.All.Zero, "an ignored position");
    }
}
