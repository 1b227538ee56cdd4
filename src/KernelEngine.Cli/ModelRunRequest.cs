using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What <see cref="ModelRun"/> is asked for.</summary>
internal sealed record ModelRunRequest
{
    public required string Prompt { get; init; }

    /// <summary>The expected texts; null to look beside the model.</summary>
    public string? ExpectPath { get; init; }

    public required RunnerOptions Runner { get; init; }

    public CacheRequest Cache { get; init; } = new();

    public AttentionRequest Attention { get; init; } = new();

    /// <summary>Blocks of feed-forward networks that a token goes through, 0 for the model's own number; null for all.</summary>
    public int? ActiveFeedForwardBlocks { get; init; }

    public required LoadOptions Load { get; init; }

    public required GenerationOptions Generation { get; init; }

    /// <summary>True when the text is determined by the stored weights alone, so that an expected one applies without being asked for.</summary>
    public bool IsExact => Generation.Sampling.Temperature == 0 && (Load.Weights.MatrixType is null or DataType.Float32)
        && Runner.KvType == DataType.Float32 && (Cache.Policy is null or "full") && Cache.ProjectionsPath is null
        && Attention.Kind == AttentionRequest.Full && ActiveFeedForwardBlocks is null;
}
