using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What <see cref="EvictRun"/> is asked for.</summary>
internal sealed record EvictRequest
{
    /// <summary>The model's files; null for the built-in one.</summary>
    public string? ModelPath { get; init; }

    public string? TextPath { get; init; }

    public required IReadOnlyList<string> Policies { get; init; }

    public required IReadOnlyList<int> Budgets { get; init; }

    /// <summary>Tokens of a text; 0 for as many as are usual.</summary>
    public int Length { get; init; }

    /// <summary>Tokens that are read at once; negative for half.</summary>
    public int PromptLength { get; init; } = -1;

    public int Seeds { get; init; } = 8;

    /// <summary>A table of head scores; null for none.</summary>
    public string? HeadsPath { get; init; }

    /// <summary>Share of the heads with the highest scores that keep everything.</summary>
    public double FullShare { get; init; } = 0.5;

    /// <summary>Trained networks in safetensors, for policies that ask them; null to leave those out.</summary>
    public string? NetworksPath { get; init; }

    /// <summary>A file of bases that make the rows of all policies shorter; null to store them whole.</summary>
    public string? ProjectionsPath { get; init; }

    /// <summary>Where files go; null for none.</summary>
    public string? OutputFolder { get; init; }

    public required LoadOptions Load { get; init; }

    public bool IsJson { get; init; }
}
