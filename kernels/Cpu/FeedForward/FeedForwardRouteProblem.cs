namespace KernelEngine;

/// <summary>
/// Which blocks of a routed feed-forward layer each token uses (arXiv:2312.10365), and how even the choice is (Fedus et al. 2021,
/// arXiv:2101.03961):
/// <code>
/// z_tj = weight_j · hidden_t + bias_j      gates_tj = 1 / (1 + exp(−z_tj))
/// selected_t = the activeBlocks largest z_t, of equals the lower block; in ascending order      counts_j = tokens that selected j
/// balanceLoss = α · blocks · Σ_j f_j · mean_t (gates_tj / Σ_k gates_tk)      f_j = counts_j / (tokens · activeBlocks)
/// </code>
/// The balance loss is α where all blocks are used alike; a token whose gates are all 0 adds nothing. A NaN counts as −∞ when
/// blocks are selected. Text form: <c>t=128 d=64 g=4 active=2 bias balance=0.01 bf16</c>.
/// </summary>
/// <param name="Tokens">Tokens (<c>t</c>).</param>
/// <param name="HiddenSize">Elements of a hidden row (<c>d</c>).</param>
/// <param name="Blocks">Blocks of the layer (<c>g</c>), 1 to <see cref="MaxBlocks"/>.</param>
/// <param name="ActiveBlocks">Blocks that a token uses (<c>active</c>), 1 to <paramref name="Blocks"/>.</param>
/// <param name="Type">Storage of the hidden rows (<c>f32</c>, <c>f16</c>, <c>bf16</c>); all else is f32.</param>
public readonly record struct FeedForwardRouteProblem(
    int Tokens, int HiddenSize, int Blocks, int ActiveBlocks, DataType Type = DataType.Float32) : IProblem<FeedForwardRouteProblem>
{
    /// <summary>The most blocks.</summary>
    public const int MaxBlocks = 1024;

    /// <summary>Index of the hidden rows, [tokens, hiddenSize].</summary>
    public const int Hidden = 0;

    /// <summary>Index of the router's weight, f32 [blocks, hiddenSize].</summary>
    public const int Weight = 1;

    /// <summary>Index of the router's bias, f32 [blocks].</summary>
    public const int Bias = 2;

    /// <summary>Index of the blocks each token uses, i32 [tokens, activeBlocks], ascending.</summary>
    public const int Selected = 3;

    /// <summary>Index of the gates, f32 [tokens, blocks].</summary>
    public const int Gates = 4;

    /// <summary>Index of how many tokens use each block, i32 [blocks].</summary>
    public const int Counts = 5;

    /// <summary>Index of the balance loss, f32 [1].</summary>
    public const int BalanceLoss = 6;

    /// <summary>Whether the router has a bias (<c>bias</c>).</summary>
    public bool HasBias { get; init; }

    /// <summary>α (<c>balance</c>); 0 where there is no balance loss.</summary>
    public float BalanceWeight { get; init; }

    /// <inheritdoc/>
    public int OperandCount => 7;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Hidden => new("hidden", OperandRole.Input, Type, TensorLayout.Contiguous(Tokens, HiddenSize), "tokens, hiddenSize"),
        Weight => new("weight", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Blocks, HiddenSize), "blocks, hiddenSize"),
        Bias => HasBias ? new("bias", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Blocks), "blocks") : Operand.Absent("bias"),
        Selected => new("selected", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Tokens, ActiveBlocks), "tokens, activeBlocks"),
        Gates => new("gates", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Tokens, Blocks), "tokens, blocks"),
        Counts => new("counts", OperandRole.Output, DataType.Int32, TensorLayout.Contiguous(Blocks), "blocks"),
        BalanceLoss => BalanceWeight != 0
            ? new("balanceLoss", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(1), "one")
            : Operand.Absent("balanceLoss"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Tokens * HiddenSize * Blocks;

    /// <inheritdoc/>
    public double Bytes => (double)Tokens * (HiddenSize * (double)Type.SizeInBytes() + 4.0 * Blocks + 4.0 * ActiveBlocks) + 4.0 * Blocks * HiddenSize;

    /// <inheritdoc/>
    public string? FindError() =>
        Tokens < 0 || HiddenSize < 0 ? "Sizes must not be negative."
        : !Type.IsFloat() ? $"Hidden rows must be f32, f16 or bf16, not {Type.ToText()}."
        : !float.IsFinite(BalanceWeight) ? "The weight of the balance loss must be finite."
        : FindBlockError(Tokens, Blocks, ActiveBlocks);

    /// <summary>Null when a layer can have these blocks, else a sentence.</summary>
    internal static string? FindBlockError(int tokens, int blocks, int activeBlocks) =>
        blocks is < 1 or > MaxBlocks ? $"blocks must be 1 to {MaxBlocks} but is {blocks}."
        : activeBlocks < 1 || activeBlocks > blocks ? $"activeBlocks must be 1 to blocks={blocks} but is {activeBlocks}."
        : (long)tokens * activeBlocks > int.MaxValue ? $"tokens · activeBlocks must be at most {int.MaxValue}."
        : null;

    /// <inheritdoc/>
    public static FeedForwardRouteProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new FeedForwardRouteProblem(
            text.TakeSize("t"), text.TakeSize("d"), text.TakeSize("g"), text.TakeSize("active"), text.TakeType(DataType.Float32))
        {
            HasBias = text.TakeFlag("bias"),
            BalanceWeight = text.TakeNumber("balance", 0),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("t", Tokens), ProblemText.Word("d", HiddenSize), ProblemText.Word("g", Blocks), ProblemText.Word("active", ActiveBlocks),
        ProblemText.Flag("bias", HasBias), ProblemText.Word("balance", BalanceWeight, 0f), Type.ToText());

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
