using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

internal sealed class BranchInstruction(int target) : PtxInstruction
{
    public int Target { get; } = target;

    public override PtxFlow Flow => PtxFlow.Branch;

    public override void Execute(Warp warp, uint mask) => throw new InvalidOperationException();
}

internal sealed class ExitInstruction : PtxInstruction
{
    public override PtxFlow Flow => PtxFlow.Exit;

    public override void Execute(Warp warp, uint mask) => throw new InvalidOperationException();
}

internal sealed class TrapInstruction : PtxInstruction
{
    public override void Execute(Warp warp, uint mask) => throw warp.Fault(this, BitOperations.TrailingZeroCount(mask), "the kernel gave up");
}

/// <summary>Fences order what the emulator never reorders.</summary>
internal sealed class NoInstruction : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
    }
}

/// <summary>
/// <c>fence.proxy.async</c>: what the thread has stored becomes visible to asynchronous readers; <c>fence.mbarrier_init</c>: the barriers it
/// has initialised do.
/// </summary>
internal sealed class ProxyFenceInstruction(bool isForBarriers) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int thread = warp.Index * Warp.Lanes + BitOperations.TrailingZeroCount(rest);
            if (isForBarriers)
                warp.Block.Shared.FenceBarriers(thread);
            else
                warp.Block.Shared.Fence(thread);
        }
    }
}

/// <summary><c>nanosleep</c>: others go first.</summary>
internal sealed class SleepInstruction : PtxInstruction
{
    public override void Execute(Warp warp, uint mask) => warp.PolledInVain |= mask;
}

/// <summary><c>bar.sync</c> and <c>bar.arrive</c>, executed by all lanes of a warp that have not exited.</summary>
internal sealed class BarrierInstruction(int id, int? threads, bool waits) : PtxInstruction
{
    public override bool IsCollective => true;

    public override uint Together(Warp warp, uint mask) => warp.Live;

    public override void Execute(Warp warp, uint mask) => warp.Block.Barriers.Arrive(
        this, warp, (uint)warp.Uniform(this, id, mask), threads is int slot ? (uint)warp.Uniform(this, slot, mask) : -1, waits);
}

/// <summary><c>bar.red.popc</c>: a barrier that tells everyone how many threads came with a true predicate.</summary>
internal sealed class CountingBarrierInstruction(int destination, int id, int? threads, PredicateUse predicate) : PtxInstruction
{
    public override bool IsCollective => true;

    public override uint Together(Warp warp, uint mask) => warp.Live;

    public override void Execute(Warp warp, uint mask)
    {
        long barrier = (uint)warp.Uniform(this, id, mask);
        warp.WhenReleased = () => warp.Slot(destination).Fill((ulong)warp.Block.Barriers.PopCounts[barrier]);
        warp.Block.Barriers.Arrive(this, warp, barrier, threads is int slot ? (uint)warp.Uniform(this, slot, mask) : -1,
            true, BitOperations.PopCount(predicate.Lanes(warp) & mask));
    }
}

/// <summary><c>bar.warp.sync</c>: the lanes of the mask meet here.</summary>
internal sealed class WarpBarrierInstruction(int members) : PtxInstruction
{
    public override bool IsCollective => true;

    public override uint Together(Warp warp, uint mask) => warp.Members(this, members, mask);

    public override void Execute(Warp warp, uint mask)
    {
    }
}
