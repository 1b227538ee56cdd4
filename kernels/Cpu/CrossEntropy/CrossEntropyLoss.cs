namespace KernelEngine;

/// <summary>
/// The part of cross-entropy that knows nothing of logits: which rows are scored against which label, and how a row's
/// log-sum-exp becomes a loss. With L the log-sum-exp of a row's logits a, y its label, w the weights of the classes and u
/// those of the positions (all 1 where there are none),
/// <code>
/// ce = (1 − α) · w_y · (L − a_y) + α / classes · Σ_v w_v · (L − a_v)      z = λ · L²
/// none: u · (ce + z)    sum: Σ u · (ce + z)    mean: Σ u · ce / Σ u · w_y + Σ u · z / Σ u    divisor: Σ u · (ce + z) / divisor
/// </code>
/// Position k is the k-th pair of a hidden row and the label <see cref="Shift"/> places later in the same sequence. One whose
/// label is <see cref="IgnoreIndex"/> counts for nothing and its hidden row is not read. When nothing is left, the result is 0.
/// Text form: <c>n=128 v=50257 seq=64 shift=1 smoothing=0.1 zloss=0.0001 classweights tokenweights sum ignore=-1</c>.
/// </summary>
/// <param name="Rows">Hidden rows and labels (<c>n</c>).</param>
/// <param name="Classes">Size of the whole vocabulary (<c>v</c>).</param>
public readonly record struct CrossEntropyLoss(int Rows, int Classes)
{
    /// <summary>The label that takes a position out, unless another is asked for.</summary>
    public const int DefaultIgnoreIndex = -100;

    /// <summary>Rows of a sequence (<c>seq</c>): a label belongs to the hidden row <see cref="Shift"/> places before it; 0 for one sequence.</summary>
    public int SequenceLength { get; init; }

    /// <summary>Places between a hidden row and the label it is scored against (<c>shift</c>): 1 for the next token.</summary>
    public int Shift { get; init; }

    /// <summary>The label of positions that do not count (<c>ignore</c>).</summary>
    public int IgnoreIndex { get; init; } = DefaultIgnoreIndex;

    /// <summary>α, at least 0 and below 1 (<c>smoothing</c>; Szegedy et al. 2015, arXiv:1512.00567).</summary>
    public float LabelSmoothing { get; init; }

    /// <summary>λ (<c>zloss</c>; Chowdhery et al. 2022, arXiv:2204.02311).</summary>
    public float ZLoss { get; init; }

    /// <summary>Whether classes have weights (<c>classweights</c>).</summary>
    public bool HasClassWeights { get; init; }

    /// <summary>Whether positions have weights (<c>tokenweights</c>).</summary>
    public bool HasTokenWeights { get; init; }

    /// <summary>How losses are combined (<c>sum</c>, <c>none</c>, <c>divisor</c>; the mean where none is named).</summary>
    public CrossEntropyReduction Reduction { get; init; }

    /// <summary>The mean of nothing is NaN, as PyTorch has it, not 0 (<c>nanempty</c>).</summary>
    public bool IsEmptyNaN { get; init; }

    /// <summary>Pairs of a hidden row and a label.</summary>
    public int Positions => Rows == 0 ? 0 : Rows / Length * (Length - Shift);

    /// <summary>Numbers of the loss: one, or one a position.</summary>
    public int LossCount => Reduction == CrossEntropyReduction.None ? Positions : 1;

    private int Length => SequenceLength > 0 ? SequenceLength : Rows;

    /// <summary>The hidden row of a position.</summary>
    public int HiddenRow(int position) => Shift == 0 ? position : position / (Length - Shift) * Length + position % (Length - Shift);

    /// <summary>Where a position's label stands among the targets.</summary>
    public int TargetRow(int position) => HiddenRow(position) + Shift;

    /// <summary>i32 [rows]: the labels.</summary>
    public Operand Targets => new("targets", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Rows), "rows",
        Values: OperandValues.Labels(Classes, IgnoreIndex));

    /// <summary>f32 [classes], at least 0.</summary>
    public Operand ClassWeights => HasClassWeights
        ? new("classWeights", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Classes), "classes", Values: OperandValues.Uniform)
        : Operand.Absent("classWeights");

    /// <summary>f32 [positions], at least 0.</summary>
    public Operand TokenWeights => HasTokenWeights
        ? Position("tokenWeights") with { Role = OperandRole.Input, IsOptional = false, Values = OperandValues.Uniform }
        : Operand.Absent("tokenWeights");

    /// <summary>f32 [1]: what sums are divided by.</summary>
    public Operand Divisor => Reduction == CrossEntropyReduction.Divisor
        ? new("divisor", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(1), "1", Values: OperandValues.Positive)
        : Operand.Absent("divisor");

    /// <summary>f32 [1], or [positions] without reduction.</summary>
    /// <param name="name">The operand's name.</param>
    /// <param name="role">Whether it is read or written.</param>
    public Operand Loss(string name, OperandRole role) => new(name, role, DataType.Float32, TensorLayout.Contiguous(LossCount),
        Reduction == CrossEntropyReduction.None ? "positions" : "1", IsOptional: true);

    /// <summary>An optional output of one number a position.</summary>
    public Operand Position(string name, DataType type = DataType.Float32) =>
        new(name, OperandRole.Output, type, TensorLayout.Contiguous(Positions), "positions", IsOptional: true);

    /// <summary>Null when sizes and options make sense, else a sentence that says which does not and why.</summary>
    public string? FindError() =>
        Rows < 0 ? "Sizes must not be negative."
        : Classes < 1 ? $"A vocabulary has at least one class, not {Classes}."
        : SequenceLength < 0 || (SequenceLength > 0 && Rows % SequenceLength != 0)
            ? $"rows must be whole sequences but {Rows} is no multiple of sequenceLength={SequenceLength}."
        : Shift < 0 || (Rows > 0 && Shift >= Length) ? $"shift must be 0 to {Math.Max(0, Length - 1)}, below the length of a sequence, but is {Shift}."
        : !(LabelSmoothing is >= 0 and < 1) ? $"labelSmoothing must be at least 0 and below 1 but is {LabelSmoothing}."
        : !(ZLoss >= 0) || !float.IsFinite(ZLoss) ? $"zLoss must be 0 or positive but is {ZLoss}."
        : null;

    /// <summary>Null when every label is a class or the ignored one, else a sentence about the first that is not.</summary>
    public string? FindTargetError(in RawView targets)
    {
        for (int i = 0; i < Rows; i++)
        {
            int target = targets.ReadInt32(i);
            if ((uint)target >= (uint)Classes && target != IgnoreIndex)
                return $"targets[{i}] must be 0 to {Classes - 1}, or {IgnoreIndex} to be ignored, but is {target}.";
        }
        return null;
    }

    /// <summary>Takes the words of the text form.</summary>
    public static CrossEntropyLoss Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new CrossEntropyLoss(text.TakeSize("n"), text.TakeSize("v"))
        {
            SequenceLength = text.TakeSize("seq", 0),
            Shift = text.TakeSize("shift", 0),
            IgnoreIndex = text.TakeInteger("ignore", DefaultIgnoreIndex),
            LabelSmoothing = text.TakeNumber("smoothing", 0),
            ZLoss = text.TakeNumber("zloss", 0),
            HasClassWeights = text.TakeFlag("classweights"),
            HasTokenWeights = text.TakeFlag("tokenweights"),
            Reduction = text.TakeFlag("sum") ? CrossEntropyReduction.Sum
                : text.TakeFlag("none") ? CrossEntropyReduction.None
                : text.TakeFlag("divisor") ? CrossEntropyReduction.Divisor : CrossEntropyReduction.Mean,
            IsEmptyNaN = text.TakeFlag("nanempty"),
        };
    }

    /// <summary>The words of the text form, defaults left out.</summary>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("n", Rows), ProblemText.Word("v", Classes), ProblemText.Word("seq", SequenceLength, 0), ProblemText.Word("shift", Shift, 0),
        ProblemText.Word("ignore", IgnoreIndex, DefaultIgnoreIndex), ProblemText.Word("smoothing", LabelSmoothing, 0f), ProblemText.Word("zloss", ZLoss, 0f),
        ProblemText.Flag("classweights", HasClassWeights), ProblemText.Flag("tokenweights", HasTokenWeights),
        Reduction switch
        {
            CrossEntropyReduction.Sum => "sum",
            CrossEntropyReduction.None => "none",
            CrossEntropyReduction.Divisor => "divisor",
            _ => "",
        },
        ProblemText.Flag("nanempty", IsEmptyNaN));
}
