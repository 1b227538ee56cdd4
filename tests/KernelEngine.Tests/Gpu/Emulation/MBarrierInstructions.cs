using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>An instruction on the barrier whose address each lane gives.</summary>
internal abstract class MBarrierInstruction(StateSpace space, AddressOperand address) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            (StateSpace actual, ulong at) = StateSpaces.Specific(space, address.Of(warp.Slot(address.Slot), lane));
            if (actual != StateSpace.Shared)
                throw warp.Fault(this, lane, $"0x{at:X} is not in shared memory", at);
            ExecuteLane(warp, lane, at);
        }
    }

    protected abstract void ExecuteLane(Warp warp, int lane, ulong at);
}

/// <summary><c>mbarrier.init</c></summary>
internal sealed class MBarrierInitInstruction(StateSpace space, AddressOperand address, int count) : MBarrierInstruction(space, address)
{
    protected override void ExecuteLane(Warp warp, int lane, ulong at) =>
        warp.Block.MBarriers.Initialize(this, warp, lane, at, (uint)warp.Slot(count)[lane]);
}

/// <summary><c>mbarrier.inval</c></summary>
internal sealed class MBarrierInvalidateInstruction(StateSpace space, AddressOperand address) : MBarrierInstruction(space, address)
{
    protected override void ExecuteLane(Warp warp, int lane, ulong at) => warp.Block.MBarriers.Invalidate(this, warp, lane, at);
}

/// <summary><c>mbarrier.expect_tx</c> and <c>mbarrier.complete_tx</c></summary>
internal sealed class MBarrierTransactionInstruction(StateSpace space, AddressOperand address, int bytes, bool completes)
    : MBarrierInstruction(space, address)
{
    protected override void ExecuteLane(Warp warp, int lane, ulong at)
    {
        long count = (uint)warp.Slot(bytes)[lane];
        warp.Block.MBarriers.ExpectBytes(this, warp, lane, at, completes ? -count : count);
    }
}

/// <summary><c>mbarrier.arrive</c>, with bytes to expect if the instruction names some.</summary>
internal sealed class MBarrierArriveInstruction(StateSpace space, int state, AddressOperand address, int count, int bytes, bool drops)
    : MBarrierInstruction(space, address)
{
    protected override void ExecuteLane(Warp warp, int lane, ulong at) => warp.Slot(state)[lane] = (ulong)warp.Block.MBarriers.Arrive(
        this, warp, lane, at, (uint)warp.Slot(count)[lane], (uint)warp.Slot(bytes)[lane], drops);
}

/// <summary><c>mbarrier.try_wait</c> and <c>test_wait</c>: lanes that get a no let others go first.</summary>
internal sealed class MBarrierPollInstruction(StateSpace space, int destination, AddressOperand address, int stateOrParity, bool isParity)
    : MBarrierInstruction(space, address)
{
    public override PtxFlow Flow => PtxFlow.Poll;

    protected override void ExecuteLane(Warp warp, int lane, ulong at)
    {
        bool isOver = warp.Block.MBarriers.IsPhaseOver(this, warp, lane, at, (long)warp.Slot(stateOrParity)[lane], isParity);
        warp.SetPredicate(destination, 1U << lane, isOver ? uint.MaxValue : 0);
        if (!isOver)
            warp.PolledInVain |= 1U << lane;
    }
}

/// <summary>
/// <c>cp.async.mbarrier.arrive</c>: the thread arrives when all its copies so far are there. Without <c>.noinc</c> the arrival is one more
/// than the phase expects.
/// </summary>
internal sealed class CopyArriveInstruction(StateSpace space, AddressOperand address, bool isCounted) : MBarrierInstruction(space, address)
{
    protected override void ExecuteLane(Warp warp, int lane, ulong at)
    {
        if (isCounted)
            warp.Block.MBarriers.ExpectArrival(this, warp, lane, at);
        else
            _ = warp.Block.MBarriers.Find(this, warp, lane, at);
        int copies = warp.Copies.Started(lane);
        warp.Block.BulkCopies.Add(new BulkLoad(at, 0, this, [], () =>
        {
            warp.Copies.LandFirst(lane, copies);
            warp.Block.MBarriers.Arrive(this, warp, lane, at, 1, 0, false);
        }));
    }
}
