namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// What the four warps of each warpgroup must do alike: the n-th product of every one must be the same instruction with the same
/// descriptors. It also keeps the last operand B that was read, because all four need it.
/// </summary>
internal sealed class WarpgroupLog(Launch launch)
{
    private readonly List<Entry>[] _entries = [.. Enumerable.Range(0, (launch.Warps + 3) / 4).Select(_ => new List<Entry>())];
    private readonly int[] _issued = new int[launch.Warps];
    private readonly float[] _columns = new float[MatrixFragments.Depth * 256];
    private (ulong Bits, bool IsAlongK, int Columns, PtxType Type, long Version) _held = (0, false, 0, default, -1);

    public void Record(PtxInstruction instruction, Warp warp, ulong a, ulong b, bool accumulates)
    {
        List<Entry> entries = _entries[warp.Index / 4];
        int number = _issued[warp.Index]++;
        var entry = new Entry(instruction, a, b, accumulates);
        if (number == entries.Count)
            entries.Add(entry);
        else if (entries[number] != entry)
        {
            Entry other = entries[number];
            throw warp.Fault(instruction, -1, $"another warp of the warpgroup has line {other.Instruction.Statement.Line} as its product {number}, "
                + $"with A 0x{other.A:X} and B 0x{other.B:X}; this one has A 0x{a:X} and B 0x{b:X}");
        }
    }

    /// <summary>Operand B as 16 rows, one for each step of K.</summary>
    public float[] Columns(OperandTile tile, PtxType type, int columns, SharedMemory memory)
    {
        var key = (tile.Descriptor.Bits, tile.Descriptor.IsAlongK, columns, type, memory.Version);
        if (_held != key)
        {
            tile.Read(memory, type, _columns, 1, columns);
            _held = key;
        }
        return _columns;
    }

    private readonly record struct Entry(PtxInstruction Instruction, ulong A, ulong B, bool Accumulates);
}
