namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Copies a warp's threads have started and not waited for; each thread has groups of its own.</summary>
internal sealed class PendingCopies(Warp warp)
{
    private readonly List<(int Lane, int Group, ulong Destination, byte[] Data)> _copies = [];
    private readonly int[] _groups = new int[Warp.Lanes];

    public void Clear()
    {
        _copies.Clear();
        Array.Clear(_groups);
    }

    public void Add(int lane, ulong destination, byte[] data) => _copies.Add((lane, _groups[lane], destination, data));

    /// <summary>What the lanes have started since the last time becomes a group.</summary>
    public void Commit(uint mask)
    {
        for (int lane = 0; lane < Warp.Lanes; lane++)
            _groups[lane] += (int)(mask >> lane & 1);
    }

    /// <summary>The lanes' copies arrive, except those of their last groups; null waits for those without a group as well.</summary>
    public void Wait(uint mask, int? groupsLeft)
    {
        int kept = 0;
        for (int i = 0; i < _copies.Count; i++)
        {
            (int lane, int group, ulong destination, byte[] data) = _copies[i];
            bool isDone = (mask >> lane & 1) != 0 && (groupsLeft is not int left || group < _groups[lane] - left);
            if (isDone)
                data.CopyTo(warp.Block.Shared.At(destination, data.Length));
            else
                _copies[kept++] = _copies[i];
        }
        _copies.RemoveRange(kept, _copies.Count - kept);
    }
}
