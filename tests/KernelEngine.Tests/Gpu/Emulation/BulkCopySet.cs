namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>A copy into shared memory that signals a barrier when it lands, and what the warp that started it knew.</summary>
internal sealed record BulkLoad(ulong Barrier, int Bytes, PtxInstruction Instruction, int[] Clock, Action Land)
{
    /// <summary>How often the barrier has been asked since the copy started; lanes that ask together ask once.</summary>
    public int Polls { get; set; }

    /// <summary>When the barrier was last asked.</summary>
    public long LastPoll { get; set; } = -1;
}

/// <summary>
/// The bulk copies a block has in flight. A load lands when its barrier is asked for the second time: the first answer is always no, so
/// that code which does not ask again is found out.
/// </summary>
internal sealed class BulkCopySet(Block block)
{
    private const int PollsUntilLanding = 2;

    private readonly List<BulkLoad> _loads = [];

    public void Add(BulkLoad load) => _loads.Add(load);

    /// <summary>Somebody asks a barrier: copies that signal it come nearer.</summary>
    public void Land(ulong barrier)
    {
        long now = block.Launch.InstructionsExecuted;
        for (int i = 0; i < _loads.Count; i++)
        {
            BulkLoad load = _loads[i];
            if (load.Barrier != barrier || load.LastPoll == now)
                continue;
            block.Events++;
            load.LastPoll = now;
            if (++load.Polls < PollsUntilLanding)
                continue;
            _loads.RemoveAt(i--);
            load.Land();
            if (load.Bytes > 0)
                block.MBarriers.CompleteBytes(barrier, load.Bytes, load.Clock);
        }
    }

    /// <summary>A block must not end while something still writes into its memory.</summary>
    public void RequireLanded()
    {
        if (_loads.FirstOrDefault(load => load.Bytes > 0) is BulkLoad load)
        {
            PtxStatement statement = load.Instruction.Statement;
            throw new PtxFault($"PTX line {statement.Line}: {statement.Text}: nobody waited for it before the block ended")
            {
                Line = statement.Line,
            };
        }
    }
}
