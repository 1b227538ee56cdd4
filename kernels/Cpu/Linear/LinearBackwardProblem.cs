namespace KernelEngine;

/// <summary>
/// The gradients of a linear layer, from <c>gradOutput</c>, that of its output:
/// <code>
/// gradInput = gradOutput · weight      gradWeight = gradOutputᵀ · input
/// </code>
/// Either may be left out. Text form, as of the layer: <c>m=512 n=2048 k=768 w=bf16</c>.
/// </summary>
/// <param name="Forward">The layer, whose factors must not lie transposed.</param>
public readonly record struct LinearBackwardProblem(LinearProblem Forward) : IProblem<LinearBackwardProblem>
{
    /// <summary>Index of the output's gradient, f32 [rows, outputSize].</summary>
    public const int GradOutput = 0;

    /// <summary>Index of the input operand, f32 [rows, inputSize].</summary>
    public const int Input = 1;

    /// <summary>Index of the weight operand, [outputSize, inputSize].</summary>
    public const int Weight = 2;

    /// <summary>Index of the input's gradient, f32 [rows, inputSize]; optional.</summary>
    public const int GradInput = 3;

    /// <summary>Index of the weight's gradient, f32 [outputSize, inputSize] whatever the weight's type; optional.</summary>
    public const int GradWeight = 4;

    /// <summary>The product that is the input's gradient, of <see cref="GradOutput"/> and <see cref="Weight"/>.</summary>
    public LinearProblem InputProduct =>
        new(Forward.Rows, Forward.InputSize, Forward.OutputSize, Forward.WeightType) { IsWeightTransposed = true };

    /// <summary>The product that is the weight's gradient, of <see cref="GradOutput"/> and <see cref="Input"/>.</summary>
    public LinearProblem WeightProduct =>
        new(Forward.OutputSize, Forward.InputSize, Forward.Rows) { IsInputTransposed = true, IsWeightTransposed = true };

    /// <inheritdoc/>
    public int OperandCount => 5;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        GradOutput => Forward.GetOperand(LinearProblem.Output) with { Name = "gradOutput", Role = OperandRole.Input },
        Input => Forward.GetOperand(LinearProblem.Input),
        Weight => Forward.GetOperand(LinearProblem.Weight),
        GradInput => Forward.GetOperand(LinearProblem.Input) with { Name = "gradInput", Role = OperandRole.Output, IsOptional = true },
        GradWeight => Forward.GetOperand(LinearProblem.Weight) with
        {
            Name = "gradWeight",
            Role = OperandRole.Output,
            Type = DataType.Float32,
            IsOptional = true,
        },
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => InputProduct.Flops + WeightProduct.Flops;

    /// <inheritdoc/>
    public double Bytes => InputProduct.Bytes + WeightProduct.Bytes;

    /// <inheritdoc/>
    public string? FindError() =>
        Forward.IsInputTransposed || Forward.IsWeightTransposed ? "Gradients are of a layer whose factors lie in rows."
        : Forward.FindError();

    /// <inheritdoc/>
    public static LinearBackwardProblem Read(ProblemText text) => new(LinearProblem.Read(text));

    /// <inheritdoc/>
    public string ToText() => Forward.ToText();

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
