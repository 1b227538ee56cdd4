namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>One block while it runs: its memories, its barriers, and the turns of its warps.</summary>
internal sealed class Block
{
    // Turns in which nobody got on before the block counts as stuck; bulk copies land while waiters poll.
    private const int IdleRoundsUntilDeadlock = 16;
    private const int Quantum = 96;

    private readonly Warp[] _warps;
    private readonly byte[] _local;

    public Block(Launch launch, Warp[] warps, int x, int y, int z)
    {
        (Launch, _warps, X, Y, Z) = (launch, warps, x, y, z);
        PtxProgram program = launch.Program;
        Shared = new SharedMemory(launch, program.DynamicSharedOffset + launch.DynamicSharedBytes);
        Races = launch.Gpu.DetectsRaces ? new RaceDetector(launch, Shared.Size) : null;
        Barriers = new BarrierSet(this);
        MBarriers = new MBarrierSet(this);
        BulkCopies = new BulkCopySet(this);
        BulkStores = new BulkStoreSet(this);
        Warpgroups = new WarpgroupLog(launch);
        _local = new byte[launch.Warps * Warp.Lanes * program.LocalBytes];
        Array.Fill(_local, byte.MaxValue);
    }

    public Launch Launch { get; }

    public int X { get; }

    public int Y { get; }

    public int Z { get; }

    public SharedMemory Shared { get; }

    /// <summary>Null when races are not looked for.</summary>
    public RaceDetector? Races { get; }

    public BarrierSet Barriers { get; }

    public MBarrierSet MBarriers { get; }

    public BulkCopySet BulkCopies { get; }

    public BulkStoreSet BulkStores { get; }

    public WarpgroupLog Warpgroups { get; }

    public IReadOnlyList<Warp> Warps => _warps;

    /// <summary>Grows whenever something happens that another warp could wait for.</summary>
    public long Events { get; set; }

    /// <summary>The local memory of one thread.</summary>
    public Span<byte> Local(int thread) => _local.AsSpan(thread * Launch.Program.LocalBytes, Launch.Program.LocalBytes);

    /// <summary>Notes that a lane's ordinary instruction writes shared memory.</summary>
    public void NoteWrite(PtxInstruction instruction, Warp warp, int lane, ulong address, int bytes, bool isAtomic = false)
    {
        Races?.Write(instruction, warp, lane, address, bytes, isAtomic);
        Shared.NoteWrite(warp.Index * Warp.Lanes + lane, address, bytes);
    }

    /// <summary>Gives the warps turns in a random order until all are done.</summary>
    public void Run(Random random)
    {
        foreach (Warp warp in _warps)
            warp.Start(this);
        Warp[] order = [.. _warps];
        int idleRounds = 0;
        while (_warps.Any(warp => warp.Live != 0))
        {
            random.Shuffle(order);
            long events = Events;
            bool isBusy = false;
            foreach (Warp warp in order)
            {
                if (warp.Live == 0 || warp.BarrierId >= 0)
                    continue;
                warp.Run(1 + random.Next(Quantum));
                isBusy |= warp.IsBusy;
            }
            idleRounds = isBusy || events != Events ? 0 : idleRounds + 1;
            if (idleRounds > IdleRoundsUntilDeadlock)
                throw Deadlock();
        }
        BulkCopies.RequireLanded();
        BulkStores.Finish();
    }

    private PtxFault Deadlock() =>
        new($"deadlock in block ({X}, {Y}, {Z}):\n" + string.Join("\n", _warps.Select(warp => warp.Position()).Concat(MBarriers.Describe())));
}
