namespace KernelEngine;

/// <summary>The geometry of an <see cref="AttentionPattern"/>, and what it says about single keys.</summary>
/// <param name="NumHeads">Heads with lists of their own; query head h of numHeads reads those of head h div (numHeads / NumHeads).</param>
/// <param name="Rows">Query rows.</param>
/// <param name="Keys">Keys. Row i stands at position i + Keys − Rows among them.</param>
/// <param name="RowBlock">Rows that share a list.</param>
/// <param name="KeyBlock">Keys that an element of a list stands for.</param>
public sealed record PatternShape(int NumHeads, int Rows, int Keys, int RowBlock = 1, int KeyBlock = 1)
{
    /// <summary>Sequences with lists of their own; 1 when all share them.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>A row sees no key after its own position, whatever its list says.</summary>
    public bool IsCausal { get; init; }

    /// <summary>Keys after its own position that a row sees, whatever its list says; −1 for all.</summary>
    public int WindowRight { get; init; } = -1;

    /// <summary>
    /// By head: keys before its own position that a row sees whatever its list says (−1 for all), and first keys that it sees besides.
    /// Null for all keys.
    /// </summary>
    public IReadOnlyList<(int Left, int Sinks)>? Windows { get; init; }

    /// <summary>Lists of a head.</summary>
    public int RowBlocks => (int)(((long)Rows + RowBlock - 1) / RowBlock);

    /// <summary>Blocks of keys, the numbers in a list.</summary>
    public int KeyBlocks => (int)(((long)Keys + KeyBlock - 1) / KeyBlock);

    /// <summary>The keys that causality and windows leave to a row.</summary>
    internal KeyRange RangeOf(int head, int row)
    {
        (int left, int sinks) = Windows?[head] ?? (-1, 0);
        var geometry = new AttentionProblem(1, 1, 1, Rows, Keys, 1, 1, IsCausal) { WindowRight = WindowRight };
        return geometry.GetRange(row, Rows, Keys, left, sinks);
    }

    /// <summary>The keys that causality and windows leave to some row of a block: those of its first and last rows, and between them.</summary>
    internal KeyRange RangeOfBlock(int head, int rowBlock)
    {
        KeyRange first = RangeOf(head, rowBlock * RowBlock), last = RangeOf(head, Math.Min(Rows, (rowBlock + 1) * RowBlock) - 1);
        int sinkEnd = Math.Max(first.SinkEnd, last.SinkEnd);
        return first.First == first.End ? last with { SinkEnd = sinkEnd } : new KeyRange(sinkEnd, first.First, Math.Max(first.End, last.End));
    }

    /// <summary>Throws unless the sizes make a pattern.</summary>
    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(NumHeads, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(Rows);
        ArgumentOutOfRangeException.ThrowIfNegative(Keys);
        ArgumentOutOfRangeException.ThrowIfLessThan(RowBlock, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(KeyBlock, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(WindowRight, -1);
        if (Windows is { } windows && (windows.Count != NumHeads || windows.Any(window => window.Left < -1 || window.Sinks < 0)))
            throw new ArgumentException($"Windows must name a left window (−1 for all) and sinks of each of {NumHeads} heads.", nameof(Windows));
    }
}
