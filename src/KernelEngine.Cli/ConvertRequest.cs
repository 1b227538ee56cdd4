using KernelEngine.Models.Conversion;

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

    /// <summary>Whether codebooks are added for attention that looks at a few keys.</summary>
    public bool AddsCodebooks { get; init; }

    /// <summary>Blocks that feed-forward networks are cut into; 0 to leave them whole.</summary>
    public int FeedForwardBlocks { get; init; }

    /// <summary>Blocks that a token goes through when it is routed.</summary>
    public int ActiveFeedForwardBlocks { get; init; }

    /// <summary>Which units make up a block.</summary>
    public UnitGrouping Grouping { get; init; }

    /// <summary>The share of keys and values that a cache is to store, by bases written beside the model; 1 to write none.</summary>
    public double KvShare { get; init; } = 1;

    /// <summary>What the model reads to show what its heads hold.</summary>
    public string? TextPath { get; init; }
}
