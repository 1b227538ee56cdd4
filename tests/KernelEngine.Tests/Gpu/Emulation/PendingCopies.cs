namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Copies a warp's threads have started and not waited for; each thread has groups of its own.</summary>
internal sealed class PendingCopies(Warp warp)
{
    private readonly List<Copy> _copies = [];
    private readonly int[] _groups = new int[Warp.Lanes];
    private readonly int[] _started = new int[Warp.Lanes];

    public void Clear()
    {
        _copies.Clear();
        Array.Clear(_groups);
        Array.Clear(_started);
    }

    /// <summary>How many copies a lane has started so far.</summary>
    public int Started(int lane) => _started[lane];

    public void Add(PtxInstruction instruction, int lane, ulong destination, byte[] data) =>
        _copies.Add(new Copy(instruction, lane, _groups[lane], _started[lane]++, destination, data));

    /// <summary>What the lanes have started since the last time becomes a group.</summary>
    public void Commit(uint mask)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
            _groups[lane] += (int)(mask >> lane & 1);
    }

    /// <summary>The lanes' copies arrive, except those of their last groups; null waits for those without a group as well.</summary>
    public void Wait(uint mask, int? groupsLeft) =>
        Land(copy => (mask >> copy.Lane & 1) != 0 && (groupsLeft is not int left || copy.Group < _groups[copy.Lane] - left));

    /// <summary>The first copies of a lane arrive.</summary>
    public void LandFirst(int lane, int count) => Land(copy => copy.Lane == lane && copy.Number < count);

    private void Land(Func<Copy, bool> isDue)
    {
        int kept = 0;
        for (int i = 0; i < _copies.Count; i++)
        {
            Copy copy = _copies[i];
            if (!isDue(copy))
            {
                _copies[kept++] = copy;
                continue;
            }
            copy.Data.CopyTo(warp.Block.Shared.At(copy.Destination, copy.Data.Length));
            warp.Block.NoteWrite(copy.Instruction, warp, copy.Lane, copy.Destination, copy.Data.Length);
        }
        _copies.RemoveRange(kept, _copies.Count - kept);
    }

    private readonly record struct Copy(PtxInstruction Instruction, int Lane, int Group, int Number, ulong Destination, byte[] Data);
}
