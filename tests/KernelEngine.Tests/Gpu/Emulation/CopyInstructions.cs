using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// <c>cp.async</c>: the bytes arrive when the thread waits for their group, and until then the destination holds NaN patterns. Bytes
/// beyond the source size are zeros; with no source bytes the source address is not looked at.
/// </summary>
internal sealed class CopyInstruction(AddressOperand destination, AddressOperand source, int bytes, int? sourceBytes, PredicateUse? ignoreSource)
    : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        uint ignored = ignoreSource?.Lanes(warp) ?? 0;
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong to = destination.Of(warp.Slot(destination.Slot), lane);
            Span<byte> target = StateSpaces.Bytes(warp, this, lane, StateSpace.Shared, to, bytes, bytes);
            int count = sourceBytes is int slot ? (int)warp.Slot(slot)[lane] : bytes;
            if (count > bytes || count < 0)
                throw warp.Fault(this, lane, $"{count} source bytes for a copy of {bytes}");
            if ((ignored >> lane & 1) != 0)
                count = 0;
            var data = new byte[bytes];
            if (count > 0)
            {
                ulong from = source.Of(warp.Slot(source.Slot), lane);
                StateSpaces.Bytes(warp, this, lane, StateSpace.Global, from, count, bytes)[..count].CopyTo(data);
            }
            target.Fill(byte.MaxValue);
            warp.Block.NoteWrite(this, warp, lane, to, bytes);
            warp.Copies.Add(this, lane, to, data);
        }
    }
}

/// <summary><c>cp.async.commit_group</c></summary>
internal sealed class CopyCommitInstruction : PtxInstruction
{
    public override void Execute(Warp warp, uint mask) => warp.Copies.Commit(mask);
}

/// <summary><c>cp.async.wait_group</c> and <c>wait_all</c>, which needs no commit.</summary>
internal sealed class CopyWaitInstruction(int? groupsLeft) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        warp.Copies.Wait(mask, groupsLeft);
        warp.Block.Events++;
    }
}
