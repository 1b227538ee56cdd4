namespace KernelEngine;

/// <summary>
/// The published patterns of sparse attention within a sequence of <c>length</c> tokens. Lengths that a block does not divide end in a
/// shorter block.
/// </summary>
public static class AttentionPatterns
{
    /// <summary>
    /// The latest keys and the first ones (StreamingLLM; Xiao et al. 2023, arXiv:2309.17453): row i sees key j ≤ i when i − j &lt; window or
    /// j &lt; sinkCount.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="window">Keys, a row's own among them; at least 1.</param>
    /// <param name="sinkCount">First keys.</param>
    /// <param name="block">Rows and keys of a block of the lists; the pattern is exact whatever it is.</param>
    public static AttentionPattern SlidingWindow(int length, int window, int sinkCount = 0, int block = 64)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(window, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(sinkCount);
        return Windows(length, [(window - 1, sinkCount)], block);
    }

    /// <summary>
    /// A span for each head (MoA; Fu et al. 2024, arXiv:2406.14909): the first <paramref name="sinkCount"/> tokens and, to the whole of the
    /// span, the last; spans in whole blocks of 64, two at least.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="spans">Tokens of each head's span, from its rule α + β · length; a head whose span holds all is dense.</param>
    /// <param name="sinkCount">First tokens of every span.</param>
    public static AttentionPattern MixtureOfSpans(int length, IReadOnlyList<double> spans, int sinkCount = 64)
    {
        ArgumentNullException.ThrowIfNull(spans);
        return Windows(length, [.. spans.Select(span =>
            KernelEngine.MixtureOfSpans.WindowOf(span, length, sinkCount) is { } window ? (window.RecentCount - 1, window.SinkCount) : (-1, 0))], 64);
    }

    /// <summary>
    /// Groups of tokens, shifted by half a group in half of the heads, and first tokens that all see (S²-Attn of LongLoRA, Chen et al. 2023,
    /// arXiv:2309.12307, with <paramref name="sinkCount"/> 0; SF-Attn of SinkLoRA, Zhang 2024, arXiv:2406.05678, with more): row i sees key
    /// j ≤ i of its own group or with j &lt; sinkCount. In the second half of the heads groups begin at half a group; the first half group
    /// and the last stay apart, so that no row sees the end of the sequence from its beginning.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="groupSize">Tokens of a group, even; LongLoRA takes a quarter of the length.</param>
    /// <param name="sinkCount">First tokens that all rows see.</param>
    /// <param name="block">Tokens of a block of the lists; divides half a group and the sinks.</param>
    public static AttentionPattern ShiftedGroups(int length, int groupSize, int sinkCount = 0, int block = 4)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sinkCount);
        ArgumentOutOfRangeException.ThrowIfLessThan(groupSize, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        if (groupSize % (2 * block) != 0 || sinkCount % block != 0)
            throw new ArgumentException($"Blocks of {block} must divide half of a group of {groupSize} and {sinkCount} sinks.", nameof(block));
        int group = groupSize / block, sinks = sinkCount / block;
        return Create(new PatternShape(2, length, length, block, block) { IsCausal = true }, (head, row, key) =>
            key < sinks || (key + head * group / 2) / group == (row + head * group / 2) / group);
    }

    /// <summary>
    /// Window, global blocks and random ones (BigBird; Zaheer et al. 2020, arXiv:2007.14062): a block of rows sees itself and its
    /// neighbours, the first and the last block, and <paramref name="randomBlocks"/> others drawn for it; the first and the last block of
    /// rows see all.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="block">Tokens of a block.</param>
    /// <param name="windowBlocks">Blocks of the window, odd: the row's own in the middle.</param>
    /// <param name="randomBlocks">Blocks drawn among those that a row would not see otherwise; fewer where fewer are left.</param>
    /// <param name="isCausal">Leaves out what comes after a row: random blocks are drawn among earlier ones.</param>
    /// <param name="seed">Of the draw; the same seed gives the same pattern.</param>
    /// <param name="numHeads">Heads, each with a draw of its own.</param>
    public static AttentionPattern BigBird(
        int length, int block = 64, int windowBlocks = 3, int randomBlocks = 3, bool isCausal = false, int seed = 0, int numHeads = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(randomBlocks);
        if (windowBlocks < 1 || windowBlocks % 2 == 0)
            throw new ArgumentOutOfRangeException(nameof(windowBlocks), windowBlocks, "A window is an odd number of blocks.");
        var random = new Random(seed);
        var shape = new PatternShape(numHeads, length, length, block, block) { IsCausal = isCausal };
        int blocks = shape.RowBlocks;
        return new AttentionPattern(shape, (_, _, row) =>
        {
            int end = isCausal ? row + 1 : blocks;
            bool[] sees = [.. Enumerable.Range(0, end).Select(key =>
                row == 0 || row == blocks - 1 || key == 0 || key == blocks - 1 || Math.Abs(row - key) <= windowBlocks / 2)];
            int[] others = [.. Enumerable.Range(0, end).Where(key => !sees[key])];
            random.Shuffle(others);
            foreach (int key in others.AsSpan(0, Math.Min(randomBlocks, others.Length)))
                sees[key] = true;
            return Enumerable.Range(0, end).Where(key => sees[key]);
        });
    }

    /// <summary>
    /// A window and chosen global tokens (Longformer; Beltagy et al. 2020, arXiv:2004.05150), in blocks: a row sees keys at most
    /// <paramref name="windowBlocks"/> to either side and the global ones, and global rows see all. Blocks of 1 are the paper's tokens.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="windowBlocks">Blocks to either side.</param>
    /// <param name="globalBlocks">Numbers of the global blocks.</param>
    /// <param name="block">Tokens of a block.</param>
    /// <param name="dilation">Blocks from one of the window to the next; 1 for neighbours.</param>
    /// <param name="isCausal">Leaves out what comes after a row.</param>
    public static AttentionPattern Longformer(
        int length, int windowBlocks, IReadOnlyCollection<int> globalBlocks, int block = 1, int dilation = 1, bool isCausal = false)
    {
        ArgumentNullException.ThrowIfNull(globalBlocks);
        ArgumentOutOfRangeException.ThrowIfNegative(windowBlocks);
        ArgumentOutOfRangeException.ThrowIfLessThan(dilation, 1);
        HashSet<int> global = [.. globalBlocks];
        return Create(new PatternShape(1, length, length, block, block) { IsCausal = isCausal }, (_, row, key) =>
            global.Contains(row) || global.Contains(key)
            || (Math.Abs(row - key) <= (long)windowBlocks * dilation && (row - key) % dilation == 0));
    }

    /// <summary>
    /// The latest <paramref name="stride"/> blocks, and every block a multiple of the stride before (Sparse Transformer's strided pattern,
    /// both parts at once; Child et al. 2019, arXiv:1904.10509). Blocks of 1 are the paper's tokens. Causal.
    /// </summary>
    /// <param name="length">Tokens.</param>
    /// <param name="stride">Blocks.</param>
    /// <param name="block">Tokens of a block.</param>
    public static AttentionPattern Strided(int length, int stride, int block = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, 1);
        return Create(new PatternShape(1, length, length, block, block) { IsCausal = true }, (_, row, key) =>
            row - key < stride || (row - key) % stride == 0);
    }

    private static AttentionPattern Windows(int length, IReadOnlyList<(int Left, int Sinks)> windows, int block) =>
        Create(new PatternShape(windows.Count, length, length, block, block) { IsCausal = true, Windows = windows }, (_, _, _) => true);

    // A pattern from a rule about blocks.
    private static AttentionPattern Create(PatternShape shape, Func<int, int, int, bool> sees) => new(shape, (_, head, row) =>
        Enumerable.Range(0, shape.IsCausal ? Math.Min(row + 1, shape.KeyBlocks) : shape.KeyBlocks).Where(key => sees(head, row, key)));
}
