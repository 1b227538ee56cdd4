namespace KernelEngine;

/// <summary>
/// A feed-forward layer whose inner units are cut into blocks of the same size, of which each token uses some (the routed
/// feed-forward of arXiv:2312.10365). Block j has the rows j · unitsOfBlock and after of upWeight and gateWeight and those columns of
/// downWeight, as they lie in the checkpoint of a dense layer:
/// <code>
/// u = upWeight_j · hidden_t + upBias_j      h = relu(u), gelu(u), or silu(gateWeight_j · hidden_t) · u
/// output_t = downBias + Σ_{j selected by t} c_tj · downWeight_j · h      c_tj = 1, or blocks / activeBlocks · gates_tj
/// </code>
/// No token is dropped, whatever the blocks' counts; blocks are added in ascending order. With one block it is the dense layer.
/// Text form: <c>t=2048 d=1024 f=4096 g=4 active=2 act=gelu gating=post upbias downbias bf16 w=bf16</c>.
/// </summary>
/// <param name="Tokens">Tokens (<c>t</c>).</param>
/// <param name="HiddenSize">Elements of a hidden row (<c>d</c>).</param>
/// <param name="InnerSize">Inner units of all blocks (<c>f</c>), a multiple of <paramref name="Blocks"/>.</param>
/// <param name="Blocks">Blocks (<c>g</c>, default 1), 1 to <see cref="FeedForwardRouteProblem.MaxBlocks"/>.</param>
/// <param name="ActiveBlocks">Blocks that a token uses (<c>active</c>, default all).</param>
/// <param name="Activation">What comes between the products (<c>act</c>: relu, gelu, swiglu; default gelu).</param>
/// <param name="Gating">What blocks are multiplied by (<c>gating</c>: none, post; default none).</param>
/// <param name="Type">Storage of hidden rows, output and kept units (<c>f32</c>, <c>f16</c>, <c>bf16</c>).</param>
/// <param name="WeightType">Storage of weights and biases (<c>w</c>, default that of the hidden rows).</param>
public readonly record struct FeedForwardProblem(
    int Tokens, int HiddenSize, int InnerSize, int Blocks, int ActiveBlocks, FeedForwardActivation Activation = FeedForwardActivation.Gelu,
    FeedForwardGating Gating = FeedForwardGating.None, DataType Type = DataType.Float32, DataType WeightType = DataType.Float32)
    : IProblem<FeedForwardProblem>
{
    /// <summary>Index of the hidden rows, [tokens, hiddenSize].</summary>
    public const int Hidden = 0;

    /// <summary>Index of the first weight, [innerSize, hiddenSize].</summary>
    public const int UpWeight = 1;

    /// <summary>Index of the weight of SwiGLU's gate, [innerSize, hiddenSize].</summary>
    public const int GateWeight = 2;

    /// <summary>Index of the last weight, [hiddenSize, innerSize].</summary>
    public const int DownWeight = 3;

    /// <summary>Index of the bias of the inner units, [innerSize]; not with SwiGLU.</summary>
    public const int UpBias = 4;

    /// <summary>Index of the bias of the output, [hiddenSize].</summary>
    public const int DownBias = 5;

    /// <summary>Index of the blocks each token uses, i32 [tokens, activeBlocks], ascending; may be left out where it is all of them.</summary>
    public const int Selected = 6;

    /// <summary>Index of the gates, f32 [tokens, blocks]; only with gating.</summary>
    public const int Gates = 7;

    /// <summary>How many inputs there are; outputs follow.</summary>
    public const int InputCount = 8;

    /// <summary>Index of the output, [tokens, hiddenSize].</summary>
    public const int Output = 8;

    /// <summary>
    /// Index of what a backward pass may be given so that it need not multiply again: u of each active block, or, with SwiGLU, first the
    /// products with gateWeight and then u: [tokens, activeBlocks, keptUnits].
    /// </summary>
    public const int Units = 9;

    /// <summary>Whether the inner units have a bias (<c>upbias</c>).</summary>
    public bool HasUpBias { get; init; }

    /// <summary>Whether the output has a bias (<c>downbias</c>).</summary>
    public bool HasDownBias { get; init; }

    /// <summary>Inner units of a block.</summary>
    public int UnitsOfBlock => InnerSize / Blocks;

    /// <summary>Whether the units have a gate of their own.</summary>
    public bool IsGated => Activation == FeedForwardActivation.SwiGlu;

    /// <summary>Numbers that are kept of a token and an active block.</summary>
    public int KeptUnits => IsGated ? checked(2 * UnitsOfBlock) : UnitsOfBlock;

    /// <inheritdoc/>
    public int OperandCount => 10;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Hidden => new("hidden", OperandRole.Input, Type, TensorLayout.Contiguous(Tokens, HiddenSize), "tokens, hiddenSize"),
        UpWeight => InnerRows("upWeight"),
        GateWeight => IsGated ? InnerRows("gateWeight") : Operand.Absent("gateWeight"),
        DownWeight => new("downWeight", OperandRole.Input, WeightType, TensorLayout.Contiguous(HiddenSize, InnerSize), "hiddenSize, innerSize"),
        UpBias => HasUpBias
            ? new("upBias", OperandRole.Input, WeightType, TensorLayout.Contiguous(InnerSize), "innerSize") : Operand.Absent("upBias"),
        DownBias => HasDownBias
            ? new("downBias", OperandRole.Input, WeightType, TensorLayout.Contiguous(HiddenSize), "hiddenSize") : Operand.Absent("downBias"),
        Selected => new(
            "selected", OperandRole.Input, DataType.Int32, TensorLayout.Contiguous(Tokens, ActiveBlocks), "tokens, activeBlocks",
            IsOptional: ActiveBlocks == Blocks, Values: OperandValues.AscendingBelow(Blocks)),
        Gates => Gating == FeedForwardGating.Post
            ? new("gates", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Tokens, Blocks), "tokens, blocks", Values: OperandValues.Uniform)
            : Operand.Absent("gates"),
        Output => new("output", OperandRole.Output, Type, TensorLayout.Contiguous(Tokens, HiddenSize), "tokens, hiddenSize"),
        Units => new(
            "units", OperandRole.Output, Type, TensorLayout.Contiguous(Tokens, ActiveBlocks, KeptUnits), "tokens, activeBlocks, keptUnits", IsOptional: true),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => (IsGated ? 3 : 2) * ProductFlops;

    /// <inheritdoc/>
    public double Bytes => 2.0 * Tokens * HiddenSize * Type.SizeInBytes()
        + (IsGated ? 3.0 : 2.0) * InnerSize * HiddenSize * WeightType.SizeInBytes() + 4.0 * Tokens * ActiveBlocks;

    /// <inheritdoc/>
    public string? FindError() =>
        Tokens < 0 || HiddenSize < 0 || InnerSize < 0 ? "Sizes must not be negative."
        : !Type.IsFloat() ? $"Hidden rows must be f32, f16 or bf16, not {Type.ToText()}."
        : !WeightType.IsFloat() ? $"Weights must be f32, f16 or bf16, not {WeightType.ToText()}."
        : FeedForwardRouteProblem.FindBlockError(Tokens, Blocks, ActiveBlocks) is { } error ? error
        : InnerSize % Blocks != 0 ? $"innerSize must be a multiple of blocks={Blocks} but is {InnerSize}."
        : UnitsOfBlock > int.MaxValue / 2 ? $"A block must have at most {int.MaxValue / 2} units."
        : IsGated && HasUpBias ? "SwiGLU's units have no bias."
        : null;

    /// <inheritdoc/>
    public static string? FindContentError(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands) =>
        problem.FindSelectedError(operands[Selected]);

    /// <inheritdoc/>
    public static FeedForwardProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int blocks = text.TakeSize("g", 1);
        DataType type = text.TakeType(DataType.Float32);
        return new FeedForwardProblem(
            text.TakeSize("t"), text.TakeSize("d"), text.TakeSize("f"), blocks, text.TakeSize("active", blocks),
            ReadActivation(text.TakeWord("act", "gelu")), ReadGating(text.TakeWord("gating", "none")), type, text.TakeType("w", type))
        {
            HasUpBias = text.TakeFlag("upbias"),
            HasDownBias = text.TakeFlag("downbias"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("t", Tokens), ProblemText.Word("d", HiddenSize), ProblemText.Word("f", InnerSize), ProblemText.Word("g", Blocks, 1),
        ProblemText.Word("active", ActiveBlocks, Blocks),
        Activation switch { FeedForwardActivation.Relu => "act=relu", FeedForwardActivation.SwiGlu => "act=swiglu", _ => "" },
        ProblemText.Flag("gating=post", Gating == FeedForwardGating.Post), ProblemText.Flag("upbias", HasUpBias),
        ProblemText.Flag("downbias", HasDownBias), Type.ToText(), ProblemText.Flag("w=" + WeightType.ToText(), WeightType != Type));

    /// <inheritdoc/>
    public override string ToString() => ToText();

    /// <summary>FLOPs of one product with all active blocks.</summary>
    internal double ProductFlops => 2.0 * Tokens * ActiveBlocks * HiddenSize * UnitsOfBlock;

    /// <summary>Null when every token's blocks are some that exist, each once and in their order, else a sentence.</summary>
    internal string? FindSelectedError(in RawView selected)
    {
        for (int t = 0; selected.IsPresent && t < Tokens; t++)
        {
            int previous = -1;
            for (int i = 0; i < ActiveBlocks; i++)
            {
                int block = selected.ReadInt32(t, i);
                if (block <= previous || block >= Blocks)
                    return $"selected[{t}] must hold blocks from 0 to {Blocks - 1} in ascending order but [{t}, {i}] is {block}.";
                previous = block;
            }
        }
        return null;
    }

    private Operand InnerRows(string name) =>
        new(name, OperandRole.Input, WeightType, TensorLayout.Contiguous(InnerSize, HiddenSize), "innerSize, hiddenSize");

    private static FeedForwardActivation ReadActivation(string word) => word switch
    {
        "relu" => FeedForwardActivation.Relu,
        "gelu" => FeedForwardActivation.Gelu,
        "swiglu" => FeedForwardActivation.SwiGlu,
        _ => throw new FormatException($"'act' must be relu, gelu or swiglu but is '{word}'."),
    };

    private static FeedForwardGating ReadGating(string word) => word switch
    {
        "none" => FeedForwardGating.None,
        "post" => FeedForwardGating.Post,
        _ => throw new FormatException($"'gating' must be none or post but is '{word}'."),
    };
}
