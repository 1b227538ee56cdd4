using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>What <see cref="HeadsRun"/> is asked for.</summary>
internal sealed record HeadsRequest
{
    public required string ModelPath { get; init; }

    /// <summary>retrieval, induction, echo, streaming or gates.</summary>
    public required string Score { get; init; }

    /// <summary>The text that is read, or hides the needle.</summary>
    public string? TextPath { get; init; }

    /// <summary>What the prompt ends with; the answer follows it within the text.</summary>
    public required string Question { get; init; }

    public required string Answer { get; init; }

    /// <summary>First tokens that a streaming head sees.</summary>
    public required int SinkCount { get; init; }

    /// <summary>Last tokens that it sees.</summary>
    public required int RecentCount { get; init; }

    /// <summary>Steps that gates are learnt in.</summary>
    public required int Steps { get; init; }

    public required string OutputPath { get; init; }

    public required LoadOptions Load { get; init; }
}
