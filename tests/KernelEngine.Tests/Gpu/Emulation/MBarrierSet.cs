namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The mbarrier objects of a block. A phase ends when no arrival and no byte of a transaction is pending; the next one begins with the
/// count given at initialisation.
/// </summary>
internal sealed class MBarrierSet(Block block)
{
    private const int Bytes = 8;
    private const int MaxCount = (1 << 20) - 1;
    private const ulong Signature = 0xB0_0000_0000_0000;

    private readonly Dictionary<ulong, MBarrier> _barriers = [];

    public void Initialize(PtxInstruction instruction, Warp warp, int lane, ulong address, long count)
    {
        if (count is < 1 or > MaxCount)
            throw warp.Fault(instruction, lane, $"a count of {count}", address);
        if (_barriers.ContainsKey(address))
            throw warp.Fault(instruction, lane, $"there is a barrier at 0x{address:X} already", address);
        _ = StateSpaces.Bytes(warp, instruction, lane, StateSpace.Shared, address, Bytes, Bytes);
        block.Races?.Write(instruction, warp, lane, address, Bytes);
        _barriers.Add(address, new MBarrier
        {
            Expected = (int)count,
            Pending = (int)count,
            Place = block.Races?.NewBarrier() ?? -1,
            Initialiser = warp.Index * Warp.Lanes + lane,
            Start = block.Launch.InstructionsExecuted,
            ArrivedClock = block.Races?.NewClock() ?? [],
            CompletedClock = block.Races?.NewClock() ?? [],
        });
        Mark(address);
    }

    public void Invalidate(PtxInstruction instruction, Warp warp, int lane, ulong address)
    {
        _ = Find(instruction, warp, lane, address);
        _barriers.Remove(address);
        block.Shared.At(address, Bytes).Fill(byte.MaxValue);
        block.Events++;
    }

    /// <summary>Arrivals, after expecting bytes; returns the phase they arrive in.</summary>
    public long Arrive(PtxInstruction instruction, Warp warp, int lane, ulong address, long count, long expectedBytes, bool drops)
    {
        MBarrier barrier = Find(instruction, warp, lane, address);
        barrier.Transactions += expectedBytes;
        if (count < 1 || count > barrier.Pending)
            throw warp.Fault(instruction, lane, $"{count} arrivals where {barrier.Pending} of {barrier.Expected} are pending", address);
        long phase = barrier.Phase;
        block.Races?.Release(warp, barrier.ArrivedClock);
        barrier.Pending -= (int)count;
        if (drops)
            barrier.Expected -= (int)count;
        Advance(address, barrier);
        return phase;
    }

    /// <summary>More arrivals are pending in this phase.</summary>
    public void ExpectArrival(PtxInstruction instruction, Warp warp, int lane, ulong address) => Find(instruction, warp, lane, address).Pending++;

    public void ExpectBytes(PtxInstruction instruction, Warp warp, int lane, ulong address, long bytes)
    {
        MBarrier barrier = Find(instruction, warp, lane, address);
        barrier.Transactions += bytes;
        Advance(address, barrier);
    }

    /// <summary>Bytes of a transaction have arrived.</summary>
    public void CompleteBytes(ulong address, long bytes, int[] clock)
    {
        if (!_barriers.TryGetValue(address, out MBarrier? barrier))
            throw new PtxFault($"a bulk copy signals 0x{address:X}, where the barrier is gone") { Address = address };
        barrier.Transactions -= bytes;
        RaceDetector.Join(barrier.ArrivedClock, clock);
        Advance(address, barrier);
    }

    /// <summary>Whether the phase that a state or a parity names is over; bulk copies that signal the barrier may land first.</summary>
    public bool IsPhaseOver(PtxInstruction instruction, Warp warp, int lane, ulong address, long stateOrParity, bool isParity)
    {
        MBarrier barrier = Find(instruction, warp, lane, address);
        block.BulkCopies.Land(address);
        if (isParity && stateOrParity is not (0 or 1))
            throw warp.Fault(instruction, lane, $"a parity of {stateOrParity}", address);
        bool isOver = (isParity ? barrier.Phase & 1 : barrier.Phase) != stateOrParity;
        if (isOver)
            block.Races?.Acquire(warp, barrier.CompletedClock);
        return isOver;
    }

    /// <summary>The barrier at an address, which must still be what it was.</summary>
    public MBarrier Find(PtxInstruction instruction, Warp warp, int lane, ulong address)
    {
        if (!_barriers.TryGetValue(address, out MBarrier? barrier))
            throw warp.Fault(instruction, lane, $"there is no initialised barrier at 0x{address:X}", address);
        if (BitConverter.ToUInt64(block.Shared.At(address, Bytes)) != (Signature | address))
            throw warp.Fault(instruction, lane, $"the barrier at 0x{address:X} was overwritten", address);
        block.Races?.Use(instruction, warp, lane, address);
        return barrier;
    }

    /// <summary>The states of all barriers, for messages.</summary>
    public IEnumerable<string> Describe() => _barriers.OrderBy(p => p.Key).Select(p =>
        $"mbarrier 0x{p.Key:X}: phase {p.Value.Phase}, {p.Value.Pending} of {p.Value.Expected} arrivals and {p.Value.Transactions} bytes pending");

    private void Advance(ulong address, MBarrier barrier)
    {
        block.Events++;
        if (Math.Abs(barrier.Transactions) > MaxCount)
        {
            throw new PtxFault($"{barrier.Transactions} bytes pending at the barrier at 0x{address:X} are more than it can count")
            {
                Address = address,
            };
        }
        if (barrier.Pending != 0 || barrier.Transactions != 0)
            return;
        barrier.Phase++;
        barrier.Pending = barrier.Expected;
        RaceDetector.Join(barrier.CompletedClock, barrier.ArrivedClock);
        Array.Clear(barrier.ArrivedClock);
        if (block.Races != null)
            barrier.CompletedClock[barrier.Place] = (int)barrier.Phase;
    }

    private void Mark(ulong address)
    {
        BitConverter.TryWriteBytes(block.Shared.At(address, Bytes), Signature | address);
        block.Events++;
    }
}

/// <summary>One mbarrier object.</summary>
internal sealed class MBarrier
{
    /// <summary>The barrier's place in the clocks of the race detector.</summary>
    public required int Place { get; init; }

    /// <summary>The thread that has initialised it.</summary>
    public required int Initialiser { get; init; }

    /// <summary>When that was.</summary>
    public required long Start { get; init; }

    /// <summary>Arrivals a phase needs.</summary>
    public int Expected { get; set; }

    /// <summary>Arrivals the current phase still needs.</summary>
    public int Pending { get; set; }

    /// <summary>Bytes expected and not yet arrived.</summary>
    public long Transactions { get; set; }

    /// <summary>What those that have arrived in the current phase know.</summary>
    public required int[] ArrivedClock { get; init; }

    /// <summary>What those that arrived in earlier phases knew.</summary>
    public required int[] CompletedClock { get; init; }

    /// <summary>Phases that are over.</summary>
    public long Phase { get; set; }
}
