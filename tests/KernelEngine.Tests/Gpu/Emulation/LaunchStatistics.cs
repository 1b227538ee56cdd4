namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>What a launch executed.</summary>
internal sealed class LaunchStatistics
{
    private readonly Dictionary<string, long> _counts = [];
    private readonly SortedDictionary<int, long> _conflictsByLine = [];

    /// <summary>Executions of each opcode with its modifiers, one for all lanes of a warp that execute it together.</summary>
    public IReadOnlyDictionary<string, long> Counts => _counts;

    /// <summary>Executions in all.</summary>
    public long Instructions => _counts.Values.Sum();

    /// <summary>Passes over shared memory beyond those the widths of the accesses need.</summary>
    public long BankConflicts => _conflictsByLine.Values.Sum();

    /// <summary>The conflicts of each line of the PTX text that has some.</summary>
    public IReadOnlyDictionary<int, long> BankConflictsByLine => _conflictsByLine;

    /// <summary>Executions of all opcodes that start so.</summary>
    public long CountOf(string opcodePrefix) => _counts.Where(p => p.Key.StartsWith(opcodePrefix, StringComparison.Ordinal)).Sum(p => p.Value);

    public void Add(string opcode, long count)
    {
        if (count != 0)
            _counts[opcode] = _counts.GetValueOrDefault(opcode) + count;
    }

    public void AddConflicts(int line, int count)
    {
        if (count != 0)
            _conflictsByLine[line] = _conflictsByLine.GetValueOrDefault(line) + count;
    }
}
