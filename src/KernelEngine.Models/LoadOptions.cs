namespace KernelEngine.Models;

/// <summary>How a model is loaded from files.</summary>
public sealed record LoadOptions
{
    /// <summary>Weights as stored, the tokenizer beside the model.</summary>
    public static LoadOptions Default { get; } = new();

    /// <summary>The tokenizer's file; null to look for one beside the model.</summary>
    public string? TokenizerPath { get; init; }

    /// <summary>How weights are brought onto the device.</summary>
    public WeightOptions Weights { get; init; } = WeightOptions.Default;
}
