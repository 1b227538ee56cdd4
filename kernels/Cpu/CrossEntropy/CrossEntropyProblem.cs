namespace KernelEngine;

/// <summary>
/// Cut Cross-Entropy (Wijmans et al. 2024, arXiv:2411.09009): the loss of a linear classifier over a large vocabulary without
/// the matrix of logits. For the hidden row e of a position and class v,
/// <code>
/// x_v = (e · classifier_v + bias_v) / temperature      a_v = softCap · tanh(x_v / softCap)      L = ln Σ_v exp(a_v)
/// </code>
/// and <see cref="CrossEntropyLoss"/> says what becomes of L. The same pass gives, where wanted, each position's log-probability
/// a_y − L, its entropy L − Σ p · a, the class with the largest logit (the lowest of equal ones), the share of positions where
/// that is the label, and each class's mean logit. One shard of the vocabulary (<see cref="ShardSize"/> rows of the classifier from
/// <see cref="FirstClass"/> on) gives partial states instead, which <see cref="CrossEntropyMergeProblem"/> merges.
/// Text form: that of the loss, and <c>d=768 bias softcap=30 temperature=0.7 bf16 biastype=f32 shard=100 first=200</c>.
/// </summary>
/// <param name="Loss">Rows, classes and the loss.</param>
/// <param name="HiddenSize">Elements of a hidden row and of a row of the classifier (<c>d</c>).</param>
/// <param name="Type">Storage of hidden rows and classifier (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
public readonly record struct CrossEntropyProblem(CrossEntropyLoss Loss, int HiddenSize, DataType Type = DataType.Float32)
    : IProblem<CrossEntropyProblem>
{
    /// <summary>Index of the hidden rows, [rows, hiddenSize].</summary>
    public const int Hidden = 0;

    /// <summary>Index of the classifier, [shardSize, hiddenSize]: a row a class.</summary>
    public const int Classifier = 1;

    /// <summary>Index of the bias, [shardSize]; −∞ takes a class out where no soft cap makes a finite logit of it.</summary>
    public const int Bias = 2;

    /// <summary>Index of the labels, i32 [rows].</summary>
    public const int Targets = 3;

    /// <summary>Index of the weights of the classes, f32 [classes].</summary>
    public const int ClassWeights = 4;

    /// <summary>Index of the weights of the positions, f32 [positions].</summary>
    public const int TokenWeights = 5;

    /// <summary>Index of the divisor, f32 [1].</summary>
    public const int Divisor = 6;

    /// <summary>How many of the first operands are inputs.</summary>
    public const int InputCount = 7;

    /// <summary>Index of the loss, f32 [1], or [positions] without reduction.</summary>
    public const int LossOutput = 7;

    /// <summary>Index of the part of the loss that is z, shaped as the loss.</summary>
    public const int ZLossOutput = 8;

    /// <summary>Index of the log-sum-exp L, natural log, f32 [positions]; 0 where the label is ignored, as in all that follow.</summary>
    public const int Lse = 9;

    /// <summary>Index of the log-probabilities of the labels, f32 [positions].</summary>
    public const int LogProbability = 10;

    /// <summary>Index of the entropies of the positions in nats, f32 [positions].</summary>
    public const int Entropy = 11;

    /// <summary>Index of the most likely classes, i32 [positions]; −1 where the label is ignored.</summary>
    public const int BestClass = 12;

    /// <summary>Index of the share of positions whose most likely class is the label, f32 [1].</summary>
    public const int Accuracy = 13;

    /// <summary>Index of the mean of each class's logit a over the positions that count, f32 [shardSize].</summary>
    public const int MeanLogit = 14;

    /// <summary>
    /// Index of the partial states of a shard, f32 [positions, <see cref="StateSize"/>]: the largest logit m, Σ exp(a − m), the label's
    /// logit (−∞ where another shard has it), Σ w · a (0 without label smoothing) and Σ exp(a − m) · (a − m).
    /// </summary>
    public const int State = 15;

    /// <summary>Numbers of a partial state.</summary>
    public const int StateSize = 5;

    /// <summary>How many operands there are, absent ones included.</summary>
    public const int Count = 16;

    /// <summary>Whether classes have a bias (<c>bias</c>).</summary>
    public bool HasBias { get; init; }

    /// <summary>Storage of the bias (<c>biastype</c>).</summary>
    public DataType BiasType { get; init; } = DataType.Float32;

    /// <summary>Logits x become softCap · tanh(x / softCap) (<c>softcap</c>); 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>What logits are divided by (<c>temperature</c>).</summary>
    public float Temperature { get; init; } = 1f;

    /// <summary>The rows of the classifier where it is one shard of the vocabulary (<c>shard</c>); −1 for all of it.</summary>
    public int ShardSize { get; init; } = -1;

    /// <summary>The class of the shard's first row (<c>first</c>).</summary>
    public int FirstClass { get; init; }

    /// <summary>Whether the classifier is one shard of the vocabulary.</summary>
    public bool IsShard => ShardSize >= 0;

    /// <summary>Rows of the classifier.</summary>
    public int VocabSize => IsShard ? ShardSize : Loss.Classes;

    /// <inheritdoc/>
    public int OperandCount => Count;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Hidden => new("hidden", OperandRole.Input, Type, TensorLayout.Contiguous(Loss.Rows, HiddenSize), "rows, hiddenSize"),
        Classifier => new("classifier", OperandRole.Input, Type, TensorLayout.Contiguous(VocabSize, HiddenSize), "vocabSize, hiddenSize"),
        Bias => HasBias ? new("bias", OperandRole.Input, BiasType, TensorLayout.Contiguous(VocabSize), "vocabSize") : Operand.Absent("bias"),
        Targets => Loss.Targets,
        ClassWeights => Loss.ClassWeights,
        TokenWeights => Loss.TokenWeights,
        Divisor => IsShard ? Operand.Absent("divisor") : Loss.Divisor,
        LossOutput => Whole(Loss.Loss("loss", OperandRole.Output)),
        ZLossOutput => Whole(Loss.Loss("zLoss", OperandRole.Output)),
        Lse => Whole(Loss.Position("lse")),
        LogProbability => Whole(Loss.Position("logProbability")),
        Entropy => Whole(Loss.Position("entropy")),
        BestClass => Loss.Position("bestClass", DataType.Int32),
        Accuracy => Whole(new("accuracy", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(1), "1", IsOptional: true)),
        MeanLogit => new("meanLogit", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(VocabSize), "vocabSize", IsOptional: true)
        {
            IsCostly = true,
        },
        State => IsShard
            ? new("state", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Loss.Positions, StateSize), "positions, stateSize")
            : Operand.Absent("state"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Loss.Positions * VocabSize * HiddenSize;

    /// <inheritdoc/>
    public double Bytes => ((double)Loss.Rows + VocabSize) * HiddenSize * Type.SizeInBytes() + 12.0 * Loss.Positions;

    /// <inheritdoc/>
    public string? FindError() =>
        Loss.FindError()
        ?? (HiddenSize < 0 ? "Sizes must not be negative."
            : !Type.IsFloat() ? $"hidden and classifier must be f32, f16 or bf16, not {Type.ToText()}."
            : !BiasType.IsFloat() ? $"The bias must be f32, f16 or bf16, not {BiasType.ToText()}."
            : !(LogitSoftCap >= 0) || !float.IsFinite(LogitSoftCap) ? $"logitSoftCap must be 0 or positive but is {LogitSoftCap}."
            : !(Temperature > 0) || !float.IsFinite(Temperature) ? $"temperature must be positive but is {Temperature}."
            : FirstClass < 0 || (long)FirstClass + VocabSize > Loss.Classes
                ? $"The shard's classes {FirstClass} to {(long)FirstClass + VocabSize - 1} must be among the vocabulary's {Loss.Classes}."
            : null);

    /// <inheritdoc/>
    public static string? FindContentError(in CrossEntropyProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.Loss.FindTargetError(operands[Targets]);

    /// <inheritdoc/>
    public static CrossEntropyProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new CrossEntropyProblem(CrossEntropyLoss.Read(text), text.TakeSize("d"), text.TakeType(DataType.Float32))
        {
            HasBias = text.TakeFlag("bias"),
            BiasType = text.TakeType("biastype", DataType.Float32),
            LogitSoftCap = text.TakeNumber("softcap", 0),
            Temperature = text.TakeNumber("temperature", 1),
            ShardSize = text.TakeSize("shard", -1),
            FirstClass = text.TakeSize("first", 0),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        Loss.ToText(), ProblemText.Word("d", HiddenSize), Type.ToText(), ProblemText.Flag("bias", HasBias),
        ProblemText.Flag("biastype=" + BiasType.ToText(), BiasType != DataType.Float32), ProblemText.Word("softcap", LogitSoftCap, 0f),
        ProblemText.Word("temperature", Temperature, 1f), ProblemText.Word("shard", ShardSize, -1), ProblemText.Word("first", FirstClass, 0));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    private Operand Whole(in Operand output) => IsShard ? Operand.Absent(output.Name) : output;
}
