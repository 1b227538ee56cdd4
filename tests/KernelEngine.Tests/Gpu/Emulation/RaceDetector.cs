namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Finds accesses to shared memory by different warps that no barrier orders, whether or not they happened to come in the right order.
/// Every warp has a vector clock: how far it knows each warp to be. A warp that arrives at a barrier gives its knowledge to it, a warp that
/// has waited takes it (Lamport 1978; Flanagan and Freund 2009, FastTrack). Of each unit of memory it keeps the last write and every warp's
/// last read; an access must know them. Lanes of one warp are not told apart. What a bulk copy has written counts as written by the phase of
/// the barrier it signals: every mbarrier has a place in the clocks, and who has waited for a phase knows it.
/// </summary>
internal sealed class RaceDetector
{
    // Places of barrier objects in a clock, behind those of the warps.
    private const int MaxBarriers = 256;

    private readonly int _warps;
    private readonly int _unitBytes;
    private readonly int[][] _clocks;
    private readonly int[] _writeClock;
    private readonly int[] _writer;
    private readonly int[] _writeLine;
    private readonly bool[] _isAtomic;
    private readonly int[] _readClock;
    private readonly int[] _readLine;
    private int _barriers;

    /// <summary>Watches memory in units as small as the smallest access of the program.</summary>
    public RaceDetector(Launch launch, int sharedBytes)
    {
        _warps = launch.Warps;
        _unitBytes = launch.Program.SmallestSharedAccess;
        int units = sharedBytes / _unitBytes + 1;
        _writeClock = new int[units];
        _writer = new int[units];
        _writeLine = new int[units];
        _isAtomic = new bool[units];
        _readClock = new int[units * _warps];
        _readLine = new int[units * _warps];
        _clocks = new int[_warps][];
        for (int i = 0; i < _warps; i++)
        {
            _clocks[i] = NewClock();
            _clocks[i][i] = 1;
        }
    }

    /// <summary>What nobody has given anything to.</summary>
    public int[] NewClock() => new int[_warps + MaxBarriers];

    /// <summary>The place of a new barrier object in the clocks.</summary>
    public int NewBarrier() => _warps + _barriers++ % MaxBarriers;

    /// <summary>What a warp knows now.</summary>
    public int[] Snapshot(Warp warp) => [.. _clocks[warp.Index]];

    /// <summary>Adds what one clock knows to another.</summary>
    public static void Join(int[] to, ReadOnlySpan<int> from)
    {
        for (int i = 0; i < to.Length; i++)
            to[i] = Math.Max(to[i], from[i]);
    }

    /// <summary>A warp arrives: its past is known to whoever takes the clock.</summary>
    public void Release(Warp warp, int[] clock)
    {
        Join(clock, _clocks[warp.Index]);
        _clocks[warp.Index][warp.Index]++;
    }

    /// <summary>A warp has waited.</summary>
    public void Acquire(Warp warp, int[] clock) => Join(_clocks[warp.Index], clock);

    public void Read(PtxInstruction instruction, Warp warp, int lane, ulong address, int bytes)
    {
        (int first, int last) = Units(address, bytes);
        for (int unit = first; unit <= last; unit++)
        {
            CheckWrite(instruction, warp, lane, unit);
            _readClock[unit * _warps + warp.Index] = _clocks[warp.Index][warp.Index];
            _readLine[unit * _warps + warp.Index] = instruction.Statement.Line;
        }
    }

    public void Write(PtxInstruction instruction, Warp warp, int lane, ulong address, int bytes, bool isAtomic = false)
    {
        int[] clock = _clocks[warp.Index];
        (int first, int last) = Units(address, bytes);
        for (int unit = first; unit <= last; unit++)
        {
            if (!isAtomic || !_isAtomic[unit])
                CheckWrite(instruction, warp, lane, unit);
            ReadOnlySpan<int> reads = _readClock.AsSpan(unit * _warps, _warps);
            for (int other = 0; other < reads.Length; other++)
            {
                if (other != warp.Index && reads[other] > clock[other])
                    throw Race(instruction, warp, lane, unit, "read", other, _readLine[unit * _warps + other]);
            }
            _writeClock[unit] = clock[warp.Index];
            _writer[unit] = warp.Index;
            _writeLine[unit] = instruction.Statement.Line;
            _isAtomic[unit] = isAtomic;
        }
    }

    /// <summary>A bulk copy has landed; those who know that the phase of its barrier is over may read it.</summary>
    public void Land(PtxInstruction instruction, ulong address, int bytes, int barrier, int phase)
    {
        (int first, int last) = Units(address, bytes);
        _writer.AsSpan(first, last - first + 1).Fill(barrier);
        _writeClock.AsSpan(first, last - first + 1).Fill(phase);
        _writeLine.AsSpan(first, last - first + 1).Fill(instruction.Statement.Line);
        _isAtomic.AsSpan(first, last - first + 1).Clear();
    }

    /// <summary>A use of a barrier object, which must only come after its initialisation.</summary>
    public void Use(PtxInstruction instruction, Warp warp, int lane, ulong address) => CheckWrite(instruction, warp, lane, Units(address, 1).First);

    private void CheckWrite(PtxInstruction instruction, Warp warp, int lane, int unit)
    {
        int writer = _writer[unit];
        if (writer != warp.Index && _writeClock[unit] > _clocks[warp.Index][writer])
            throw Race(instruction, warp, lane, unit, "wrote", writer, _writeLine[unit]);
    }

    private PtxFault Race(PtxInstruction instruction, Warp warp, int lane, int unit, string verb, int other, int line)
    {
        ulong address = SharedMemory.Base + (ulong)(unit * _unitBytes);
        string who = other < _warps ? $"warp {other}" : "a bulk copy";
        return warp.Fault(instruction, lane, $"a race: nothing orders this after line {line}, where {who} {verb} 0x{address:X}", address);
    }

    private (int First, int Last) Units(ulong address, int bytes)
    {
        int offset = (int)(address - SharedMemory.Base);
        return (offset / _unitBytes, (offset + bytes - 1) / _unitBytes);
    }
}
