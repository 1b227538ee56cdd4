namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The sixteen numbered barriers of a block. A warp counts as 32 threads, whole or not.</summary>
internal sealed class BarrierSet(Block block)
{
    private const int Count = 16;

    private readonly int[] _arrived = new int[Count];
    private readonly int[] _expected = new int[Count];
    private readonly uint[] _votes = new uint[Count];
    private readonly int[]?[] _clocks = new int[Count][];

    /// <summary>The number of threads whose predicate was true at the last completion of each barrier.</summary>
    public int[] PopCounts { get; } = new int[Count];

    /// <summary>One warp arrives; if it waits, it goes on when as many threads as expected have arrived.</summary>
    public void Arrive(PtxInstruction instruction, Warp warp, long id, long threads, bool waits, int votes = 0)
    {
        if (id is < 0 or >= Count)
            throw warp.Fault(instruction, -1, $"there is no barrier {id}");
        int expected = threads < 0 ? block.Launch.Warps * Warp.Lanes : (int)threads;
        if (expected == 0 || expected % Warp.Lanes != 0)
            throw warp.Fault(instruction, -1, $"{threads} threads are not a multiple of the warp size");
        if (_arrived[id] != 0 && _expected[id] != expected)
            throw warp.Fault(instruction, -1, $"barrier {id} expects {_expected[id]} threads since its first arrival, not {expected}");
        block.Events++;
        _expected[id] = expected;
        _arrived[id] += Warp.Lanes;
        _votes[id] += (uint)votes;
        if (_arrived[id] > expected)
            throw warp.Fault(instruction, -1, $"more than {expected} threads arrive at barrier {id}");
        block.Races?.Release(warp, _clocks[id] ??= block.Races.NewClock());
        if (waits)
            warp.BarrierId = (int)id;
        if (_arrived[id] < expected)
            return;
        PopCounts[id] = (int)_votes[id];
        (_arrived[id], _votes[id]) = (0, 0);
        foreach (Warp waiting in block.Warps)
        {
            if (waiting.BarrierId != id)
                continue;
            waiting.BarrierId = -1;
            block.Races?.Acquire(waiting, _clocks[id]!);
            waiting.WhenReleased?.Invoke();
            waiting.WhenReleased = null;
        }
        _clocks[id] = null;
    }
}
