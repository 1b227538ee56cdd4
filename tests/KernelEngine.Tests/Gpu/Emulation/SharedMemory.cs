namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The shared memory of one block. It starts at an address that is not zero, as behind the part a device keeps to itself, and holds NaN
/// patterns until it is written. For every 16 bytes it notes when and by whom they were last written, so that asynchronous readers can
/// tell whether they were allowed to.
/// </summary>
internal sealed class SharedMemory
{
    /// <summary>The address of the first byte.</summary>
    public const int Base = 1024;

    /// <summary>The bytes of a granule, the unit that is watched.</summary>
    public const int GranuleBytes = 16;

    private readonly byte[] _bytes;
    private readonly Granule[] _granules;
    private readonly long[] _fencesOfThread;
    private readonly long[] _lastFenceOfThread;
    private readonly long[] _lastBarrierFenceOfThread;
    private readonly Launch _launch;

    public SharedMemory(Launch launch, int size)
    {
        _launch = launch;
        _bytes = new byte[size];
        _granules = new Granule[(size + GranuleBytes - 1) / GranuleBytes];
        _fencesOfThread = new long[launch.Warps * Warp.Lanes];
        _lastFenceOfThread = new long[launch.Warps * Warp.Lanes];
        _lastBarrierFenceOfThread = new long[launch.Warps * Warp.Lanes];
        Array.Fill(_bytes, byte.MaxValue);
        Array.Fill(_lastFenceOfThread, -1);
        Array.Fill(_lastBarrierFenceOfThread, -1);
    }

    public int Size => _bytes.Length;

    /// <summary>Grows with every write.</summary>
    public long Version { get; private set; }

    public bool Contains(ulong address, int bytes) => address >= Base && address - Base + (ulong)bytes <= (ulong)_bytes.Length;

    /// <summary>The bytes at an address that has been checked.</summary>
    public Span<byte> At(ulong address, int bytes) => _bytes.AsSpan((int)(address - Base), bytes);

    /// <summary>Notes a write by a thread's ordinary instructions.</summary>
    public void NoteWrite(int thread, ulong address, int bytes) =>
        Note(address, bytes, new Granule(_launch.InstructionsExecuted, thread + 1, _fencesOfThread[thread]));

    /// <summary>Notes a write by an asynchronous copy.</summary>
    public void NoteAsynchronousWrite(ulong address, int bytes) => Note(address, bytes, new Granule(_launch.InstructionsExecuted, 0, 0));

    /// <summary>A thread orders its ordinary accesses before asynchronous ones that follow.</summary>
    public void Fence(int thread)
    {
        _fencesOfThread[thread]++;
        _lastFenceOfThread[thread] = _launch.InstructionsExecuted;
        FenceBarriers(thread);
    }

    /// <summary>A thread orders its initialisations of barriers before asynchronous copies that signal them.</summary>
    public void FenceBarriers(int thread) => _lastBarrierFenceOfThread[thread] = _launch.InstructionsExecuted;

    /// <summary>True when a thread has fenced barriers, or all it has written, after a time.</summary>
    public bool HasFencedSince(int thread, long time) => _lastBarrierFenceOfThread[thread] > time;

    /// <summary>True when a granule was written after a time.</summary>
    public bool IsWrittenAfter(ulong address, long time) => _granules[Index(address)].Time > time;

    /// <summary>
    /// The thread whose ordinary write an asynchronous reader may not see yet, or -1: neither the writer has fenced since the write nor the
    /// reader.
    /// </summary>
    public int UnfencedWriter(ulong address, int reader)
    {
        Granule granule = _granules[Index(address)];
        int writer = granule.Writer - 1;
        return writer < 0 || _fencesOfThread[writer] != granule.Fences || _lastFenceOfThread[reader] > granule.Time ? -1 : writer;
    }

    private void Note(ulong address, int bytes, Granule granule)
    {
        Version++;
        _granules.AsSpan(Index(address), Index(address + (ulong)bytes - 1) - Index(address) + 1).Fill(granule);
    }

    private static int Index(ulong address) => (int)(address - Base) / GranuleBytes;

    private readonly record struct Granule(long Time, int Writer, long Fences);
}
