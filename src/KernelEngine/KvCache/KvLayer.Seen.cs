namespace KernelEngine;

/// <content>What attention reads of the cells in a step: all, or the pages that a policy chose.</content>
public sealed partial class KvLayer
{
    // Pages of each cell, ascending, the last among them; null for all.
    internal int[]?[]? SeenPages { get; set; }

    // Pages in the longest row of those that are seen.
    private int SeenWidth
    {
        get
        {
            int width = 1;
            for (int h = 0; h < _cells.Length; h++)
                width = Math.Max(width, SeenCount(h));
            return width;
        }
    }

    // i32 [1, numKvHeads]: the slots of each cell that are seen.
    private TensorView SeenLengths
    {
        get
        {
            Span<int> row = _lengths.Begin(1, Shape.NumKvHeads);
            for (int h = 0; h < row.Length; h++)
                row[h] = _cells[h].Length - UnseenSlots(h);
            return _lengths.End();
        }
    }

    // The slots that are seen, as attention takes them beside the keys and values; all of them are stored in full.
    private AttentionInputs SeenInputs
    {
        get
        {
            int width = SeenWidth;
            Span<int> pages = _readPages.Begin(1, Shape.NumKvHeads, width);
            for (int h = 0; h < _cells.Length; h++)
            {
                for (int i = 0; i < SeenCount(h); i++)
                    pages[h * width + i] = _cells[h].Pages[SeenPage(h, i)];
            }
            return FullInputs with { KvLengths = SeenLengths, PageTable = _readPages.End(), SlotBias = SendBiases(isFull: false) };
        }
    }

    private int SeenCount(int cell) => SeenPages?[cell]?.Length ?? _cells[cell].Pages.Count;

    // The i-th of the pages that are seen, among those of the cell.
    private int SeenPage(int cell, int i) => SeenPages?[cell] is { } pages ? pages[i] : i;

    private int UnseenSlots(int cell) => (_cells[cell].Pages.Count - SeenCount(cell)) * PageSize;
}
