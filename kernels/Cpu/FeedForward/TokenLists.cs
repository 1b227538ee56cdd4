namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The tokens of each block in ascending order, by counting. An entry is token · activeBlocks + i where the block is the token's i-th.
/// </summary>
internal readonly unsafe struct TokenLists
{
    private readonly int* _offsets, _entries;
    private readonly int _activeBlocks;

    /// <summary>Fills <see cref="Bytes"/> bytes of memory.</summary>
    public TokenLists(in FeedForwardProblem problem, in RawView selected, void* memory)
    {
        _offsets = (int*)memory;
        _entries = _offsets + problem.Blocks + 1;
        _activeBlocks = problem.ActiveBlocks;
        new Span<int>(_offsets, problem.Blocks + 1).Clear();
        for (int entry = 0; entry < problem.Tokens * _activeBlocks; entry++)
            _offsets[BlockOf(problem, selected, entry) + 1]++;
        for (int j = 0; j < problem.Blocks; j++)
            _offsets[j + 1] += _offsets[j];
        // Each offset moves to the end of its block, which is where the next one begins.
        for (int entry = 0; entry < problem.Tokens * _activeBlocks; entry++)
            _entries[_offsets[BlockOf(problem, selected, entry)]++] = entry;
        for (int j = problem.Blocks; j > 0; j--)
            _offsets[j] = _offsets[j - 1];
        _offsets[0] = 0;
    }

    /// <summary>Bytes of the lists.</summary>
    public static long Bytes(in FeedForwardProblem problem) => ((long)problem.Tokens * problem.ActiveBlocks + problem.Blocks + 1) * sizeof(int);

    /// <summary>How many tokens a block has.</summary>
    public int Count(int block) => _offsets[block + 1] - _offsets[block];

    /// <summary>The token in some place of a block's list, and which of its blocks it is.</summary>
    public (int Token, int Slot) this[int block, int place] => Math.DivRem(_entries[_offsets[block] + place], _activeBlocks);

    private static int BlockOf(in FeedForwardProblem problem, in RawView selected, int entry)
    {
        (int token, int slot) = Math.DivRem(entry, problem.ActiveBlocks);
        return problem.ActiveBlocks == problem.Blocks ? slot : selected.ReadInt32(token, slot);
    }
}
