namespace KernelEngine.Cli;

/// <summary>What <see cref="ConvertRun"/> is asked for.</summary>
internal sealed record ConvertRequest
{
    public required string ModelPath { get; init; }

    public string? TokenizerPath { get; init; }

    /// <summary>The folder to write.</summary>
    public required string OutputPath { get; init; }

    /// <summary>Null for the type each weight has.</summary>
    public DataType? Type { get; init; }

    /// <summary>Key/value heads that become one.</summary>
    public int GroupSize { get; init; } = 1;

    /// <summary>What the model reads to show what its heads hold.</summary>
    public string? TextPath { get; init; }
}
