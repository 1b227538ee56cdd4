using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>An instruction that the lanes of a member mask execute together.</summary>
internal abstract class MemberInstruction(int members) : PtxInstruction
{
    public override bool IsCollective => true;

    public override uint Together(Warp warp, uint mask) => warp.Members(this, members, mask);
}

/// <summary><c>shfl.sync</c>: every lane reads a register of another lane of its segment, or its own if there is none.</summary>
internal sealed class ShuffleInstruction(string mode, int destination, int isInRange, int source, int lanes, int clamp, int members)
    : MemberInstruction(members)
{
    public override void Execute(Warp warp, uint mask)
    {
        Span<ulong> values = stackalloc ulong[Warp.Lanes];
        warp.Slot(source).CopyTo(values);
        uint found = 0;
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            int b = (int)(warp.Slot(lanes)[lane] & 31);
            int bounds = (int)warp.Slot(clamp)[lane];
            int segment = bounds >> 8 & 31;
            int maximum = lane & segment | bounds & 31 & ~segment;
            int from = mode switch
            {
                "up" => lane - b,
                "down" => lane + b,
                "bfly" => lane ^ b,
                _ => lane & segment | b & ~segment,
            };
            bool isFound = mode == "up" ? from >= maximum : from <= maximum;
            if (!isFound)
                from = lane;
            if ((mask >> from & 1) == 0)
                throw warp.Fault(this, lane, $"reads lane {from}, which does not take part");
            warp.Slot(destination)[lane] = (uint)values[from];
            found |= isFound ? 1U << lane : 0;
        }
        warp.SetPredicate(isInRange, mask, found);
    }
}

/// <summary><c>vote.sync</c> with one answer.</summary>
internal sealed class VoteInstruction(string mode, int destination, PredicateUse predicate, int members) : MemberInstruction(members)
{
    public override void Execute(Warp warp, uint mask)
    {
        uint votes = predicate.Lanes(warp) & mask;
        bool result = mode switch
        {
            "all" => votes == mask,
            "any" => votes != 0,
            _ => votes == mask || votes == 0,
        };
        warp.SetPredicate(destination, mask, result ? mask : 0);
    }
}

/// <summary><c>vote.sync.ballot</c></summary>
internal sealed class BallotInstruction(int destination, PredicateUse predicate, int members) : MemberInstruction(members)
{
    public override void Execute(Warp warp, uint mask) => warp.Fill(destination, mask, predicate.Lanes(warp) & mask);
}

/// <summary><c>activemask</c>: the lanes that happen to be here.</summary>
internal sealed class ActiveMaskInstruction(int destination) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask) => warp.Fill(destination, mask, mask);
}

/// <summary><c>redux.sync</c></summary>
internal sealed class WarpReduceInstruction(string operation, bool isSigned, int destination, int source, int members) : MemberInstruction(members)
{
    public override void Execute(Warp warp, uint mask)
    {
        ReadOnlySpan<ulong> values = warp.Slot(source);
        uint result = (uint)values[BitOperations.TrailingZeroCount(mask)];
        for (uint rest = mask & mask - 1; rest != 0; rest &= rest - 1)
        {
            uint value = (uint)values[BitOperations.TrailingZeroCount(rest)];
            result = operation switch
            {
                "add" => result + value,
                "and" => result & value,
                "or" => result | value,
                "xor" => result ^ value,
                "min" => isSigned ? (uint)Math.Min((int)result, (int)value) : Math.Min(result, value),
                _ => isSigned ? (uint)Math.Max((int)result, (int)value) : Math.Max(result, value),
            };
        }
        warp.Fill(destination, mask, result);
    }
}

/// <summary><c>elect.sync</c>: one of the lanes is the leader, always the same for a mask.</summary>
internal sealed class ElectInstruction(int destination, int isLeader, int members) : MemberInstruction(members)
{
    public override void Execute(Warp warp, uint mask)
    {
        int leader = BitOperations.TrailingZeroCount(mask);
        warp.Fill(destination, mask, (ulong)leader);
        warp.SetPredicate(isLeader, mask, 1U << leader);
    }
}
