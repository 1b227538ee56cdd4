namespace KernelEngine;

/// <summary>
/// Which keys each query row sees: for each block of rows a list of blocks of keys (FlexAttention's block mask; Dong et al. 2024,
/// arXiv:2412.05496), less what causality and windows hide within them. Immutable. The attention operations take it as a block mask
/// (<see cref="Allocate"/>), the sparse ones as lists of single keys (<see cref="ToColumnLists"/>).
/// </summary>
public sealed class AttentionPattern
{
    private readonly int[][] _lists; // [batchSize, numHeads, rowBlocks], ascending
    private readonly Lazy<long> _pairs;

    /// <summary>Makes a pattern of lists. Blocks of which causality and windows leave nothing are dropped.</summary>
    /// <param name="shape">Its geometry.</param>
    /// <param name="blocksOf">The blocks of keys of (batch, head, row block), ascending.</param>
    /// <exception cref="ArgumentException">A list does not rise from 0 to the last block of keys, or sizes make no pattern.</exception>
    public AttentionPattern(PatternShape shape, Func<int, int, int, IEnumerable<int>> blocksOf)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(blocksOf);
        shape.Validate();
        Shape = shape;
        _lists = new int[checked(shape.BatchSize * shape.NumHeads * shape.RowBlocks)][];
        for (int i = 0; i < _lists.Length; i++)
        {
            (int batch, int head, int rowBlock) = (i / shape.RowBlocks / shape.NumHeads, i / shape.RowBlocks % shape.NumHeads, i % shape.RowBlocks);
            int[] blocks = [.. blocksOf(batch, head, rowBlock)];
            for (int p = 0; p < blocks.Length; p++)
            {
                if (blocks[p] <= (p > 0 ? blocks[p - 1] : -1) || blocks[p] >= shape.KeyBlocks)
                {
                    throw new ArgumentException(
                        $"The list of row block {rowBlock} of head {head} must rise from 0 to {shape.KeyBlocks - 1} at the most but has {blocks[p]} at {p}"
                        + $"{(p > 0 ? $" after {blocks[p - 1]}" : "")}.", nameof(blocksOf));
                }
            }
            KeyRange range = shape.RangeOfBlock(head, rowBlock);
            _lists[i] = Array.FindAll(blocks, block => Count(range, block * shape.KeyBlock, BlockEnd(block)) > 0);
            HidesBlocks |= _lists[i].Length < BlocksIn(range);
        }
        _pairs = new Lazy<long>(CountPairs);
    }

    /// <summary>Its geometry, and what it says about single keys.</summary>
    public PatternShape Shape { get; }

    /// <summary>Whether lists hide something that causality and windows leave.</summary>
    public bool HidesBlocks { get; }

    /// <summary>Pairs of a row and a key that it sees, over all sequences and heads that have lists.</summary>
    public long Pairs => _pairs.Value;

    /// <summary>Pairs over those of dense attention, causal if the pattern is.</summary>
    public double Density
    {
        get
        {
            PatternShape dense = Shape with { Windows = null, WindowRight = -1 };
            double pairs = 0;
            for (int row = 0; row < Shape.Rows; row++)
                pairs += dense.RangeOf(0, row).Count;
            return pairs == 0 ? 1 : Pairs / (pairs * Shape.BatchSize * Shape.NumHeads);
        }
    }

    /// <summary>The blocks of keys that a block of rows sees something of, ascending.</summary>
    public ReadOnlySpan<int> BlocksOf(int batch, int head, int rowBlock) => _lists[(batch * Shape.NumHeads + head) * Shape.RowBlocks + rowBlock];

    /// <summary>Whether a row sees a key.</summary>
    public bool Sees(int batch, int head, int row, int key) =>
        key >= 0 && key < Shape.Keys && Shape.RangeOf(head, row).Contains(key)
        && BlocksOf(batch, head, row / Shape.RowBlock).BinarySearch(key / Shape.KeyBlock) >= 0;

    /// <summary>The keys that a row sees, as runs First .. End − 1, ascending.</summary>
    public IEnumerable<(int First, int End)> RunsOf(int batch, int head, int row)
    {
        KeyRange range = Shape.RangeOf(head, row);
        int[] blocks = _lists[(batch * Shape.NumHeads + head) * Shape.RowBlocks + row / Shape.RowBlock];
        for (int p = 0; p < blocks.Length; p++)
        {
            int first = blocks[p] * Shape.KeyBlock;
            while (p + 1 < blocks.Length && blocks[p + 1] == blocks[p] + 1)
                p++;
            int end = BlockEnd(blocks[p]);
            if (Math.Min(end, range.SinkEnd) > first)
                yield return (first, Math.Min(end, range.SinkEnd));
            if (Math.Min(end, range.End) > Math.Max(first, range.First))
                yield return (Math.Max(first, range.First), Math.Min(end, range.End));
        }
    }

    /// <summary>The pattern's tensors and options for <see cref="Attention.Forward"/> and <see cref="Attention.Backward"/>.</summary>
    /// <param name="device">Where they are needed.</param>
    /// <param name="batchSize">Sequences; all share a pattern of one.</param>
    /// <param name="numHeads">Query heads, a multiple of the pattern's.</param>
    /// <exception cref="ArgumentException">The pattern is of other sequences or heads.</exception>
    public PatternMask Allocate(Device device, int batchSize, int numHeads)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (numHeads % Shape.NumHeads != 0 || (Shape.BatchSize != 1 && Shape.BatchSize != batchSize))
        {
            throw new ArgumentException(
                $"A pattern of {Shape.BatchSize} sequences and {Shape.NumHeads} heads does not fit {batchSize} sequences of {numHeads} query heads.");
        }
        Tensor? windows = Shape.Windows is { } each
            ? Tensor.From<int>(device, [.. Enumerable.Range(0, numHeads).Select(h => each[h / (numHeads / Shape.NumHeads)]).SelectMany(w => (int[])[w.Left, w.Sinks])], numHeads, 2)
            : null;
        Tensor? mask = HidesBlocks
            ? Tensor.From<bool>(device, ToBlockMask(batchSize, numHeads), batchSize, numHeads, Blocks(Shape.Rows), Blocks(Shape.Keys))
            : null;
        return new PatternMask(mask, windows, new AttentionOptions
        {
            IsCausal = Shape.IsCausal,
            WindowRight = Shape.WindowRight,
            MaskBlock = HidesBlocks ? MaskBlock : 0,
        });
    }

    /// <summary>Rows and keys that an element of <see cref="ToBlockMask"/> stands for: the greatest common divisor of both blocks.</summary>
    public int MaskBlock
    {
        get
        {
            (int a, int b) = (Shape.RowBlock, Shape.KeyBlock);
            while (b != 0)
                (a, b) = (b, a % b);
            return a;
        }
    }

    /// <summary>The lists as truth values, [batchSize, numHeads, ⌈rows / MaskBlock⌉, ⌈keys / MaskBlock⌉].</summary>
    public bool[] ToBlockMask(int batchSize, int numHeads)
    {
        int rows = Blocks(Shape.Rows), keys = Blocks(Shape.Keys), group = numHeads / Shape.NumHeads, width = Shape.KeyBlock / MaskBlock;
        var mask = new bool[checked((long)batchSize * numHeads * rows * keys)];
        for (long i = 0; i < mask.LongLength / Math.Max(1, keys); i++)
        {
            (int batch, int head, int row) = ((int)(i / rows / numHeads), (int)(i / rows % numHeads), (int)(i % rows));
            foreach (int block in BlocksOf(Shape.BatchSize == 1 ? 0 : batch, head / group, row / (Shape.RowBlock / MaskBlock)))
            {
                for (int j = block * width; j < Math.Min((block + 1) * width, keys); j++)
                    mask[i * keys + j] = true;
            }
        }
        return mask;
    }

    /// <summary>
    /// The pattern as lists of single keys: columns i32 [batchSize, numHeads, rows, capacity], ascending, and counts i32
    /// [batchSize, numHeads, rows], as the sparse attention operations take them.
    /// </summary>
    public (Tensor Columns, Tensor Counts) ToColumnLists(Device device)
    {
        int lists = checked(Shape.BatchSize * Shape.NumHeads * Shape.Rows);
        int[][] columns = [.. Enumerable.Range(0, lists).Select(i => RunsOf(i / Shape.Rows / Shape.NumHeads, i / Shape.Rows % Shape.NumHeads, i % Shape.Rows)
            .SelectMany(run => Enumerable.Range(run.First, run.End - run.First)).ToArray())];
        int capacity = columns.Length == 0 ? 0 : columns.Max(row => row.Length);
        var all = new int[checked((long)lists * capacity)];
        for (int i = 0; i < lists; i++)
            columns[i].CopyTo(all, (long)i * capacity);
        return (
            Tensor.From<int>(device, all, Shape.BatchSize, Shape.NumHeads, Shape.Rows, capacity),
            Tensor.From<int>(device, [.. columns.Select(row => row.Length)], Shape.BatchSize, Shape.NumHeads, Shape.Rows));
    }

    private int Blocks(int length) => (int)(((long)length + MaskBlock - 1) / MaskBlock);

    private int BlockEnd(int block) => (int)Math.Min(Shape.Keys, (block + 1L) * Shape.KeyBlock);

    private static int Count(in KeyRange range, int first, int end) =>
        Math.Max(0, Math.Min(end, range.SinkEnd) - first) + Math.Max(0, Math.Min(end, range.End) - Math.Max(first, range.First));

    // Blocks of keys that a range has a key of.
    private int BlocksIn(in KeyRange range)
    {
        int sinks = (int)(((long)range.SinkEnd + Shape.KeyBlock - 1) / Shape.KeyBlock);
        return range.First >= range.End ? sinks : sinks + (range.End - 1) / Shape.KeyBlock + 1 - Math.Max(sinks, range.First / Shape.KeyBlock);
    }

    private long CountPairs()
    {
        long pairs = 0;
        for (int i = 0; i < Shape.BatchSize * Shape.NumHeads; i++)
        {
            for (int row = 0; row < Shape.Rows; row++)
            {
                foreach ((int first, int end) in RunsOf(i / Shape.NumHeads, i % Shape.NumHeads, row))
                    pairs += end - first;
            }
        }
        return pairs;
    }
}
