using static KernelEngine.Tests.CrossEntropy.CrossEntropyData;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>A vocabulary cut in shards, each computed on its own and merged in any order, is the whole, on every kernel.</summary>
[TestFixtureSource(nameof(Targets))]
public sealed class CrossEntropyShardTests(CrossEntropyTarget<CrossEntropyProblem> target)
{
    // Of the largest value and the largest log-sum-exp, of which losses and entropies are differences, at least 1.
    private const double Rounding = 5e-6;

    private static readonly int[] s_outputs =
    [
        CrossEntropyProblem.LossOutput, CrossEntropyProblem.ZLossOutput, CrossEntropyProblem.Lse, CrossEntropyProblem.LogProbability,
        CrossEntropyProblem.Entropy, CrossEntropyProblem.BestClass, CrossEntropyProblem.Accuracy,
    ];

    public static IEnumerable<TestFixtureData> Targets() => CrossEntropyTarget<CrossEntropyProblem>.Fixtures(KernelEngine.CrossEntropy.ForwardOperation);

    [Test]
    public void ShardsAreTheWhole(
        [Values("n=20 v=90 d=16 bias", "n=20 v=90 d=16 smoothing=0.2 zloss=0.1 classweights tokenweights none softcap=15 bf16", "n=24 v=90 d=16 seq=6 shift=1 divisor")] string text,
        [Values(1, 2, 3, 7, 100)] int shards, [Values] bool areMergedInPairs)
    {
        var whole = ProblemText.Parse<CrossEntropyProblem>(text);
        double[]?[] inputs = Draw(whole), expected = target.Run(whole, inputs);
        var parts = new List<Part>();
        var meanLogit = new List<double>();
        for (int rank = 0; rank < shards; rank++) // of 100, the last ten are empty
        {
            (CrossEntropyShard shard, int size) = CrossEntropyShard.Of(90, rank, shards);
            CrossEntropyProblem problem = whole with { ShardSize = size, FirstClass = shard.FirstClass };
            double[]?[] outputs = target.Run(problem, ShardOf(problem, inputs));
            parts.Add(new Part(outputs[CrossEntropyProblem.State]!, outputs[CrossEntropyProblem.BestClass]!));
            meanLogit.AddRange(outputs[CrossEntropyProblem.MeanLogit]!);
        }
        int[] order = Shuffled(shards, shards);
        parts = [.. order.Select(i => parts[i])];
        while (areMergedInPairs && parts.Count > 2)
        {
            Part merged = Merged(Merge(whole, inputs, parts[..2]));
            parts = [.. parts[2..], merged];
        }
        double[]?[] actual = Merge(whole, inputs, parts);
        double largest = Largest([1, .. expected[CrossEntropyProblem.Lse]!]);
        foreach (int operand in s_outputs)
        {
            Assert.That(
                actual[operand], Is.EqualTo(expected[operand]).Within(Rounding * Math.Max(largest, Largest(expected[operand]!))), whole.GetOperand(operand).Name);
        }
        Assert.That(meanLogit, Is.EqualTo(expected[CrossEntropyProblem.MeanLogit]).Within(Rounding * largest));
    }

    [Test]
    public void AStateSaysWhatItsShardHas()
    {
        // Of 10 classes whose logits are 0 to 9, shards of 4, 5 and 1; the second holds the label.
        var whole = ProblemText.Parse<CrossEntropyProblem>("n=1 v=10 d=1");
        double[]?[] inputs = [.. new double[CrossEntropyProblem.Count][]];
        inputs[CrossEntropyProblem.Hidden] = [1];
        inputs[CrossEntropyProblem.Classifier] = [.. Enumerable.Range(0, 10).Select(v => (double)v)];
        inputs[CrossEntropyProblem.Targets] = [4];
        foreach ((int first, int size) in ((int, int)[])[(0, 4), (4, 5), (9, 1)])
        {
            CrossEntropyProblem problem = whole with { ShardSize = size, FirstClass = first };
            double[]?[] outputs = target.Run(problem, ShardOf(problem, inputs));
            double[] logits = inputs[CrossEntropyProblem.Classifier]![first..(first + size)];
            double max = first + size - 1;
            double[] expected = [max, logits.Sum(a => Math.Exp(a - max)), first == 4 ? 4 : double.NegativeInfinity, logits.Sum(), logits.Sum(a => Math.Exp(a - max) * a)];
            Assert.That(outputs[CrossEntropyProblem.State], Is.EqualTo(expected).Within(Rounding * 10));
            Assert.That(outputs[CrossEntropyProblem.BestClass], Is.EqualTo((double[])[max]));
        }
    }

    [Test]
    public void AnEmptyShardAddsNothing()
    {
        var problem = ProblemText.Parse<CrossEntropyProblem>("n=3 v=10 d=4 shard=0 first=7");
        double[]?[] inputs = With(Draw(problem), CrossEntropyProblem.Targets, [1, -100, 9]), outputs = target.Run(problem, inputs);
        Assert.That(outputs[CrossEntropyProblem.BestClass], Is.All.EqualTo(-1));
        foreach (int k in (int[])[0, 2])
        {
            Assert.That(outputs[CrossEntropyProblem.State]![5 * k], Is.EqualTo(double.NegativeInfinity), "the largest logit");
            Assert.That(outputs[CrossEntropyProblem.State]![5 * k + 1], Is.Zero, "the sum");
            Assert.That(outputs[CrossEntropyProblem.State]![5 * k + 2], Is.EqualTo(double.NegativeInfinity), "the label's logit");
        }
        Assert.That(outputs[CrossEntropyProblem.State]![5..10], Is.All.Zero, "an ignored position");
    }

    // The merge of the same device: the one that the device would choose.
    private double[]?[] Merge(in CrossEntropyProblem whole, double[]?[] inputs, List<Part> parts)
    {
        var problem = new CrossEntropyMergeProblem(whole.Loss, parts.Count);
        Operation<CrossEntropyMergeProblem> operation = KernelEngine.CrossEntropy.MergeOperation;
        Kernel<CrossEntropyMergeProblem> kernel = operation.Select(TestDevices.KindOf(target.DeviceName), problem);
        double[]?[] merge = [.. inputs];
        merge[CrossEntropyMergeProblem.States] = [.. parts.SelectMany(p => p.State)];
        merge[CrossEntropyMergeProblem.BestClasses] = [.. parts.SelectMany(p => p.BestClass)];
        return new CrossEntropyTarget<CrossEntropyMergeProblem>(operation, kernel, target.DeviceName).Run(problem, merge);
    }

    private static Part Merged(double[]?[] outputs) => new(outputs[CrossEntropyMergeProblem.State]!, outputs[CrossEntropyProblem.BestClass]!);

    private sealed record Part(double[] State, double[] BestClass);
}
