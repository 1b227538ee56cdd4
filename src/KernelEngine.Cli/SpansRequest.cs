using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli;

/// <summary>What <see cref="SpansRun"/> is asked for.</summary>
internal sealed record SpansRequest
{
    public required string ModelPath { get; init; }

    /// <summary>The text whose pieces the model continues.</summary>
    public required string TextPath { get; init; }

    /// <summary>Tokens of pieces that are profiled; the same number of each.</summary>
    public required IReadOnlyList<int> Lengths { get; init; }

    /// <summary>Tokens of the pieces that decide between plans; 0 for none.</summary>
    public int UnseenLength { get; init; }

    /// <summary>Tokens at the end of a piece that the model answers itself, and that the loss is of.</summary>
    public required int AnswerLength { get; init; }

    /// <summary>Pieces of each length.</summary>
    public required int Samples { get; init; }

    public required int BlockSize { get; init; }

    public required MoaPlanOptions Plan { get; init; }

    public required string OutputPath { get; init; }

    public required LoadOptions Load { get; init; }
}
