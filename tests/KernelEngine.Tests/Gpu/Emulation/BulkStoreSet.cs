namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>A copy out of shared memory that its thread has to wait for.</summary>
internal sealed class BulkStore(PtxInstruction instruction, Warp warp, int lane, int group, ulong source, int bytes, Action<byte[]> write)
{
    private readonly long _start = warp.Launch.InstructionsExecuted;
    private readonly byte[] _data = warp.Block.Shared.At(source, bytes).ToArray();

    public int Thread => warp.Index * Warp.Lanes + lane;

    /// <summary>The thread's group it belongs to once that is committed.</summary>
    public int Group => group;

    /// <summary>True when the source may be used again.</summary>
    public bool IsRead { get; private set; }

    public PtxFault Fault(string reason) => warp.Fault(instruction, lane, reason, source);

    /// <summary>The source has been read, and must be what it was when the copy started.</summary>
    public void Read()
    {
        for (int i = 0; i < bytes && !IsRead; i += SharedMemory.GranuleBytes)
        {
            ulong address = source + (ulong)i;
            if (warp.Block.Shared.IsWrittenAfter(address, _start))
                throw warp.Fault(instruction, lane, $"its source at 0x{address:X} was written before anybody waited for the copy", address);
        }
        if (!IsRead)
            warp.Block.Races?.Read(instruction, warp, lane, source, bytes);
        IsRead = true;
    }

    public void Write()
    {
        Read();
        write(_data);
    }
}

/// <summary>The copies out of shared memory a block has in flight, in groups of each thread.</summary>
internal sealed class BulkStoreSet(Block block)
{
    private readonly List<BulkStore> _stores = [];
    private readonly int[] _groups = new int[block.Launch.Warps * Warp.Lanes];

    /// <summary>The group of a thread that is not committed yet.</summary>
    public int OpenGroup(int thread) => _groups[thread];

    public void Add(BulkStore store) => _stores.Add(store);

    public void Commit(int thread) => _groups[thread]++;

    /// <summary>A thread waits for all but its last groups: until their sources are read, or until they are complete.</summary>
    public void Wait(int thread, int groupsLeft, bool isForReads)
    {
        for (int i = 0; i < _stores.Count; i++)
        {
            BulkStore store = _stores[i];
            if (store.Thread != thread || store.Group >= _groups[thread] - groupsLeft)
                continue;
            if (isForReads)
            {
                store.Read();
                continue;
            }
            store.Write();
            _stores.RemoveAt(i--);
        }
        block.Events++;
    }

    /// <summary>The block ends: what has been read is written, what has not been waited for reads memory that is gone.</summary>
    public void Finish()
    {
        foreach (BulkStore store in _stores)
        {
            if (!store.IsRead)
                throw store.Fault("nobody waited until it had read shared memory, and the block has ended");
            store.Write();
        }
        _stores.Clear();
    }
}
