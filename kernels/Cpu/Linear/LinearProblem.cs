namespace KernelEngine;

/// <summary>
/// A linear layer without bias: <c>output = input · weightᵀ</c>, the matrix-matrix (many rows) or matrix-vector (one row)
/// product of a transformer's projections, and, with factors that lie transposed, of their gradients. Text form:
/// <c>m=512 n=2048 k=768 w=bf16 transposedweight</c>.
/// </summary>
/// <param name="Rows">Rows of input and output: tokens (<c>m</c>).</param>
/// <param name="OutputSize">Features out: rows of the weight (<c>n</c>).</param>
/// <param name="InputSize">Features in: columns of the weight (<c>k</c>).</param>
/// <param name="WeightType">Storage of the weight (<c>w</c>, default f32); input and output are f32.</param>
public readonly record struct LinearProblem(int Rows, int OutputSize, int InputSize, DataType WeightType = DataType.Float32)
    : IProblem<LinearProblem>
{
    /// <summary>Index of the input operand, f32 [rows, inputSize], or [inputSize, rows] where it lies transposed.</summary>
    public const int Input = 0;

    /// <summary>Index of the weight operand, [outputSize, inputSize], or [inputSize, outputSize] where it lies transposed.</summary>
    public const int Weight = 1;

    /// <summary>Index of the output operand, f32 [rows, outputSize].</summary>
    public const int Output = 2;

    /// <summary>Whether the input lies as [inputSize, rows] (<c>transposedinput</c>).</summary>
    public bool IsInputTransposed { get; init; }

    /// <summary>Whether the weight lies as [inputSize, outputSize] (<c>transposedweight</c>).</summary>
    public bool IsWeightTransposed { get; init; }

    /// <inheritdoc/>
    public int OperandCount => 3;

    /// <inheritdoc/>
    public Operand GetOperand(int index) => index switch
    {
        Input => IsInputTransposed
            ? new("input", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(InputSize, Rows), "inputSize, rows")
            : new("input", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(Rows, InputSize), "rows, inputSize"),
        Weight => IsWeightTransposed
            ? new("weight", OperandRole.Input, WeightType, TensorLayout.Contiguous(InputSize, OutputSize), "inputSize, outputSize")
            : new("weight", OperandRole.Input, WeightType, TensorLayout.Contiguous(OutputSize, InputSize), "outputSize, inputSize"),
        Output => new("output", OperandRole.Output, DataType.Float32, TensorLayout.Contiguous(Rows, OutputSize), "rows, outputSize"),
        _ => throw new ArgumentOutOfRangeException(nameof(index)),
    };

    /// <inheritdoc/>
    public double Flops => 2.0 * Rows * OutputSize * InputSize;

    /// <inheritdoc/>
    public double Bytes => (double)OutputSize * InputSize * WeightType.SizeInBytes() + 4.0 * Rows * InputSize + 4.0 * Rows * OutputSize;

    /// <inheritdoc/>
    public string? FindError() =>
        Rows < 0 || OutputSize < 0 || InputSize < 0 ? "Sizes must not be negative."
        : !WeightType.IsFloat() ? $"The weight must be f32, f16 or bf16, not {WeightType.ToText()}."
        : null;

    /// <inheritdoc/>
    public static LinearProblem Read(ProblemText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new LinearProblem(text.TakeSize("m", 1), text.TakeSize("n"), text.TakeSize("k"), text.TakeType("w", DataType.Float32))
        {
            IsInputTransposed = text.TakeFlag("transposedinput"),
            IsWeightTransposed = text.TakeFlag("transposedweight"),
        };
    }

    /// <inheritdoc/>
    public string ToText() => ProblemText.Join(
        ProblemText.Word("m", Rows), ProblemText.Word("n", OutputSize), ProblemText.Word("k", InputSize),
        ProblemText.Flag("w=" + WeightType.ToText(), WeightType != DataType.Float32),
        ProblemText.Flag("transposedinput", IsInputTransposed), ProblemText.Flag("transposedweight", IsWeightTransposed));

    /// <inheritdoc/>
    public override string ToString() => ToText();
}
