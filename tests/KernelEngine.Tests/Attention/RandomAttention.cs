namespace KernelEngine.Tests.Attention;

/// <summary>
/// Draws small problems of the attention operations: sizes around block edges, storage types, and any features that go
/// together. What a problem refuses is drawn again.
/// </summary>
internal sealed class RandomAttention(int seed) : RandomDraw(seed)
{
    private static readonly int[] s_headDims = [1, 2, 3, 5, 8, 15, 16, 17, 24, 32, 40, 64, 80, 96, 128, 200, 255, 256];

    /// <summary>The operations that can be drawn, as often as they deserve it.</summary>
    public static IReadOnlyList<string> Operations { get; } =
    [
        "attention-forward", "attention-decode", "attention-backward", "attention-weights", "attention-forward", "attention-decode",
        "attention-backward", "attention-merge", "attention-forward", "attention-decode", "attention-weights", "attention-append",
    ];

    /// <summary>The text form of a problem without error.</summary>
    public string Draw(string operation) => operation switch
    {
        "attention-forward" => Valid(() => Attend(isDecode: false)),
        "attention-decode" => Valid(() => Attend(isDecode: true)),
        "attention-backward" => Valid(() => new AttentionBackwardProblem(Attend(isDecode: false), Chance(30))),
        "attention-weights" => Valid(Weigh),
        "attention-merge" => Valid(Merge),
        "attention-append" => Valid(Append),
        _ => throw new ArgumentOutOfRangeException(nameof(operation)),
    };

    private AttentionProblem Attend(bool isDecode)
    {
        int kvHeads = From(1, 3), headDim = Pick(s_headDims), queryLength = isDecode ? From(0, 9) : Length();
        DataType type = FloatType();
        var problem = new AttentionProblem(
            From(1, 3), kvHeads * From(1, 4), kvHeads, queryLength, isDecode ? Pick(Length(), From(200, 700)) : Length(), headDim,
            Chance(70) ? headDim : Pick(s_headDims), Chance(50), Chance(10) ? 0.5f - Uniform() : null, type,
            Chance(70) ? type : Chance(30) ? DataType.Int8 : FloatType())
        {
            Alignment = Chance(15) ? CausalAlignment.TopLeft : CausalAlignment.BottomRight,
            LogitSoftCap = Chance(15) ? From(1, 20) : 0,
            WindowLeft = Chance(20) ? From(0, 60) : -1,
            WindowRight = Chance(10) ? From(0, 20) : -1,
            ChunkSize = Chance(8) ? From(1, 40) : 0,
            Operands = Maybe(AttentionOperands.AlibiSlopes, 15) | Maybe(AttentionOperands.SinkLogits, 15) | Maybe(AttentionOperands.HeadWindows, 8)
                | Maybe(AttentionOperands.KvLengths, 12) | Maybe(AttentionOperands.SlotBias, 8) | Maybe(AttentionOperands.HeadGain, 8)
                | Maybe(AttentionOperands.HeadOffset, 5),
            BiasShape = Chance(20) ? Shape() : 0,
            MaskShape = Chance(20) ? Shape() : 0,
            MaskBlock = Chance(8) ? From(1, 40) : 0,
        };
        problem = problem with
        {
            BatchSize = Chance(90) ? problem.BatchSize : 1,
            SinkCount = problem.HasWindow && Chance(40) ? From(0, 12) : 0,
            BiasType = problem.BiasShape != 0 ? FloatType() : DataType.Float32,
        };
        if (Chance(12))
        {
            // Ragged sequences take a part of the features only.
            return problem with
            {
                BatchSize = 1,
                RaggedSequences = From(1, 6),
                KvType = type,
                BiasShape = 0,
                BiasType = DataType.Float32,
                MaskShape = 0,
                MaskBlock = 0,
                Operands = problem.Operands & ~(AttentionOperands.KvLengths | AttentionOperands.SlotBias),
            };
        }
        return Chance(15) ? problem with { PageSize = From(1, 33), PoolPages = From(1, 20), IsHeadPaged = Chance(50) } : problem;
    }

    private AttentionWeightsProblem Weigh()
    {
        AttentionProblem forward = Attend(isDecode: false);
        int first = Chance(50) && forward.RaggedSequences == 0 ? From(0, forward.QueryLength) : 0;
        return new AttentionWeightsProblem(
            forward, first, Chance(50) || forward.RaggedSequences > 0 ? forward.QueryLength - first : From(0, forward.QueryLength - first));
    }

    private AttentionMergeProblem Merge() => new(From(0, 3), From(1, 5), Length(), Pick(s_headDims), FloatType(), FloatType());

    private AttentionAppendProblem Append()
    {
        int headDim = Pick(s_headDims), newLength = From(0, 9), capacity = newLength + From(0, 40), pageSize = Chance(40) ? From(1, 17) : 0;
        int batchSize = From(1, 3), kvHeads = From(1, 3), pages = pageSize == 0 ? 0 : (capacity + pageSize - 1) / pageSize;
        // Integers would have to be the reference's own: storage is a float here.
        return new AttentionAppendProblem(
            batchSize, From(0, 6), kvHeads, newLength, capacity, headDim, Pick(s_headDims), From(0, headDim / 2) * 2, capacity + From(0, 9), Chance(50),
            FloatType(), FloatType())
        {
            HasLengths = Chance(30),
            PageSize = pageSize,
            PoolPages = pageSize == 0 ? 0 : Math.Max(1, batchSize * kvHeads * pages + From(0, 3)),
            IsHeadPaged = pageSize > 0 && Chance(50),
        };
    }

    private BroadcastShape Shape()
    {
        var shape = (BroadcastShape)From(0, 15);
        return shape == 0 ? BroadcastShape.Scalar : shape;
    }

    private int Length() => Pick(From(0, 5), From(1, 40), From(1, 40), From(60, 140), From(250, 270));

    private AttentionOperands Maybe(AttentionOperands operand, int percent) => Chance(percent) ? operand : 0;
}
