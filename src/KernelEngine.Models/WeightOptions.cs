namespace KernelEngine.Models;

/// <summary>How weights are brought onto a device.</summary>
public sealed record WeightOptions
{
    /// <summary>Every matrix in its stored type, no scan.</summary>
    public static WeightOptions Default { get; } = new();

    /// <summary>
    /// The type of matrices on the device: f32, f16 or bf16; null for the type they are stored in. Norms are always f32.
    /// </summary>
    public DataType? MatrixType { get; init; }

    /// <summary>True to refuse weights that hold a NaN or an infinity.</summary>
    public bool RequireFinite { get; init; }
}
