namespace KernelEngine;

/// <summary>
/// Rotary position embedding (Su et al. 2021, arXiv:2104.09864), in place: row t of the values stands at position
/// <c>start + t</c>, and each pair of its elements turns by that position's angles,
/// <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>. Text form: <c>t=5 h=8 d=64 rd=32 start=3 interleaved bf16 maxpos=2048</c>.
/// </summary>
/// <param name="Tokens">Rows at consecutive positions (<c>t</c>, default 1).</param>
/// <param name="Heads">Heads of each row (<c>h</c>, default 1).</param>
/// <param name="HeadDim">Elements of a head (<c>d</c>).</param>
/// <param name="Start">Position of row 0 (<c>start</c>, default 0).</param>
/// <param name="RotaryDim">Elements of a head that turn, the first ones (<c>rd</c>, default d); even, at most d.</param>
/// <param name="MaxPosition">Positions of the tables (<c>maxpos</c>, default start + t).</param>
/// <param name="IsInterleaved">
/// Pairs are neighbours (2i, 2i + 1) when set (<c>interleaved</c>), else (i, i + rotaryDim / 2).
/// </param>
/// <param name="Type">Storage of the values (<c>f32</c>, <c>f16</c>, <c>bf16</c>); the tables are f32.</param>
public readonly record struct RotaryProblem(
    int Tokens, int Heads, int HeadDim, int Start, int RotaryDim, int MaxPosition, bool IsInterleaved = false,
    DataType Type = DataType.Float32) : IProblem<RotaryProblem>
{
    /// <summary>Index of the values operand, [tokens, heads, headDim], rotated in place.</summary>
    public const int Values = 0;

    /// <summary>Index of the table of cosines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Cos = 1;

    /// <summary>Index of the table of sines, f32 [maxPosition, rotaryDim / 2].</summary>
    public const int Sin = 2;

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Values => new("values", OperandRole.InOut, Type, TensorLayout.Contiguous(Tokens, Heads, HeadDim), "tokens, heads, headDim"),
        Cos => new("cos", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(MaxPosition, RotaryDim / 2),
            "maxPosition, rotaryDim / 2"),
        Sin => new("sin", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(MaxPosition, RotaryDim / 2),
            "maxPosition, rotaryDim / 2"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 3.0 * Tokens * Heads * RotaryDim;

    /// <inheritdoc/>
    public double Bytes => 2.0 * Tokens * Heads * RotaryDim * Type.SizeInBytes() + 4.0 * Tokens * RotaryDim;

    /// <inheritdoc/>
    public string? FindError() =>
        Tokens < 0 || Heads < 0 || HeadDim < 0 || Start < 0 || MaxPosition < 0 ? "Sizes must not be negative."
        : RotaryDim < 0 || RotaryDim > HeadDim || RotaryDim % 2 != 0
            ? $"rotaryDim must be even and 0 to headDim={HeadDim} but is {RotaryDim}."
        : (long)Start + Tokens > MaxPosition
            ? $"start + tokens must be at most maxPosition={MaxPosition} but is {Start} + {Tokens}."
        : !Type.IsFloat() ? $"Rotary embedding takes f32, f16 or bf16 values, not {Type.ToText()}."
        : null;

    /// <inheritdoc/>
    public static RotaryProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int tokens = text.TakeSize("t", 1), headDim = text.TakeSize("d"), start = text.TakeSize("start", 0);
        int end = (int)Math.Min((long)start + tokens, int.MaxValue);
        return new RotaryProblem(
            tokens, text.TakeSize("h", 1), headDim, start, text.TakeSize("rd", headDim), text.TakeSize("maxpos", end),
            text.TakeFlag("interleaved"), text.TakeType(DataType.Float32));
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("t", Tokens), ProblemText.Word("h", Heads), ProblemText.Word("d", HeadDim),
        ProblemText.Word("rd", RotaryDim, HeadDim), ProblemText.Word("start", Start, 0),
        ProblemText.Flag("interleaved", IsInterleaved), Type.ToText(),
        ProblemText.Flag($"maxpos={MaxPosition}", MaxPosition != (long)Start + Tokens));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
