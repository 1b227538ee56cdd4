using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What <see cref="ScoreRun"/> is asked for.</summary>
internal sealed record ScoreRequest
{
    public required string ModelPath { get; init; }

    /// <summary>The second model, if there is one.</summary>
    public string? AgainstPath { get; init; }

    public required IReadOnlyList<string> TextPaths { get; init; }

    public required DocumentSeparator Separator { get; init; }

    /// <summary>Tokens from one window to the next; 0 for half of the context.</summary>
    public int Stride { get; init; }

    /// <summary>Weight type, and the first model's tokenizer.</summary>
    public required LoadOptions Load { get; init; }

    public bool IsJson { get; init; }
}
