namespace KernelEngine.Tests.CrossEntropy;

/// <summary>
/// Draws small problems of the cross-entropy operations: sizes around block edges, storage types, and any options that go
/// together. What a problem refuses is drawn again.
/// </summary>
internal sealed class RandomCrossEntropy(int seed) : RandomDraw(seed)
{
    private static readonly int[] s_hiddenSizes = [0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 40, 63, 64, 65, 100, 128, 200, 255, 257, 513];

    /// <summary>The operations that can be drawn, as often as they deserve it.</summary>
    public static IReadOnlyList<string> Operations { get; } =
    [
        "cross-entropy-forward", "cross-entropy-backward", "cross-entropy-forward", "cross-entropy-backward", "cross-entropy-forward",
        "cross-entropy-backward", "cross-entropy-merge", "cross-entropy-training", "cross-entropy-training",
    ];

    /// <summary>The text form of a problem without error.</summary>
    public string Draw(string operation) => operation switch
    {
        "cross-entropy-forward" => Valid(Classify),
        "cross-entropy-backward" => Valid(Differentiate),
        "cross-entropy-training" => Valid(() => new CrossEntropyTrainingProblem(Classify(), Pick(0, 1, 4))),
        "cross-entropy-merge" => Valid(() => new CrossEntropyMergeProblem(Lose(), From(1, 9))),
        _ => throw new ArgumentOutOfRangeException(nameof(operation)),
    };

    private CrossEntropyBackwardProblem Differentiate() => new(Classify())
    {
        HasGradLse = Chance(25),
        HasGradEntropy = Chance(20),
        // Too small to leave out anything that shows: results are those without a filter.
        FilterEpsilon = Chance(25) ? 1e-9f : 0,
        IsHiddenFull = Chance(20),
        IsClassifierFull = Chance(20),
        HasOrder = Chance(25),
    };

    private CrossEntropyProblem Classify()
    {
        CrossEntropyLoss loss = Lose();
        int size = Pick(s_hiddenSizes), first = Chance(20) ? From(0, loss.Classes) : -1;
        float temperature = Chance(15) ? 0.5f + Uniform() : 1;
        return new CrossEntropyProblem(loss, size, FloatType())
        {
            HasBias = Chance(40),
            BiasType = Chance(20) ? FloatType() : DataType.Float32,
            // Rows of unit variance: logits that a cap would make equal would have several best classes.
            LogitSoftCap = Chance(15) ? MathF.Ceiling(3 * MathF.Sqrt(size) / temperature) + From(8, 20) : 0,
            Temperature = temperature,
            ShardSize = first < 0 ? -1 : From(0, loss.Classes - first),
            FirstClass = Math.Max(first, 0),
        };
    }

    private CrossEntropyLoss Lose()
    {
        int length = Pick(From(0, 5), From(1, 40), From(1, 40), From(60, 140), From(190, 270)), sequences = Chance(30) ? From(1, 5) : 0;
        int classes = Pick(From(1, 5), From(1, 70), From(1, 70), From(100, 140), From(250, 270), From(500, 530));
        return new CrossEntropyLoss(length * Math.Max(1, sequences), classes)
        {
            SequenceLength = sequences == 0 ? 0 : length,
            Shift = Chance(25) ? From(1, 3) : 0,
            IgnoreIndex = Chance(20) ? From(-1, 5) : CrossEntropyLoss.DefaultIgnoreIndex,
            LabelSmoothing = Chance(25) ? 0.9f * Uniform() : 0,
            ZLoss = Chance(25) ? 0.1f * Uniform() : 0,
            HasClassWeights = Chance(20),
            HasTokenWeights = Chance(20),
            Reduction = (CrossEntropyReduction)From(0, 3),
            IsEmptyNaN = Chance(10),
        };
    }
}
