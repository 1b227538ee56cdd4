using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>mov d, {a, b}</c>: the first part becomes the low bits.</summary>
internal sealed class PackInstruction(int destination, int[] parts, int bits) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong value = 0;
            for (int i = 0; i < parts.Length; i++)
                value |= Low(warp.Slot(parts[i])[lane], bits) << i * bits;
            warp.Slot(destination)[lane] = value;
        }
    }

    private static ulong Low(ulong value, int bits) => bits == 64 ? value : value & (1UL << bits) - 1;
}

/// <summary><c>mov {a, b}, d</c>: the low bits go to the first part.</summary>
internal sealed class UnpackInstruction(int[] parts, int source, int bits) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            ulong value = warp.Slot(source)[lane];
            for (int i = 0; i < parts.Length; i++)
                warp.Slot(parts[i])[lane] = bits == 64 ? value : value >> i * bits & (1UL << bits) - 1;
        }
    }
}

/// <summary><c>selp</c>: only the source that is taken must have been written.</summary>
internal sealed class SelectInstruction(int destination, int whenTrue, int whenFalse, PredicateUse predicate) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        uint lanes = predicate.Lanes(warp);
        warp.RequireWritten(this, whenTrue, mask & lanes);
        warp.RequireWritten(this, whenFalse, mask & ~lanes);
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            warp.Slot(destination)[lane] = warp.Slot((lanes >> lane & 1) != 0 ? whenTrue : whenFalse)[lane];
        }
    }
}

/// <summary>Logic and moves of predicates.</summary>
internal sealed class PredicateInstruction(int destination, PredicateUse a, PredicateUse b, PredicateJoin join) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        (uint left, uint right) = (a.Lanes(warp), b.Lanes(warp));
        warp.SetPredicate(destination, mask, join switch
        {
            PredicateJoin.And => left & right,
            PredicateJoin.Or => left | right,
            PredicateJoin.Xor => left ^ right,
            _ => left,
        });
    }
}

/// <summary>A clock: the instructions executed so far.</summary>
internal sealed class CounterInstruction(int destination, int bytes) : PtxInstruction
{
    public override void Execute(Warp warp, uint mask)
    {
        ulong now = (ulong)warp.Launch.InstructionsExecuted;
        for (uint rest = mask; rest != 0; rest &= rest - 1)
            warp.Slot(destination)[BitOperations.TrailingZeroCount(rest)] = bytes == 4 ? (uint)now : now;
    }
}
