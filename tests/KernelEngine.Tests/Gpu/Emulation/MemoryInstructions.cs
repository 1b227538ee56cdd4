using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>ld</c> of one or more elements that lie side by side.</summary>
internal sealed class LoadInstruction(StateSpace space, AddressOperand address, PtxType type, int registerBytes, int[] destinations) : PtxInstruction
{
    private readonly int _elementBytes = type.Bytes();

    public override int SharedElementBytes => space is StateSpace.Shared or StateSpace.Generic ? Math.Min(4, _elementBytes) : 4;

    public override void Execute(Warp warp, uint mask)
    {
        int bytes = _elementBytes * destinations.Length;
        ReadOnlySpan<ulong> bases = warp.Slot(address.Slot);
        var conflicts = new BankConflicts(bytes);
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            (StateSpace actual, ulong at) = StateSpaces.Specific(space, address.Of(bases, lane));
            Span<byte> data = StateSpaces.Bytes(warp, this, lane, actual, at, bytes, bytes);
            if (actual == StateSpace.Shared)
            {
                conflicts.Add(lane, at);
                warp.Block.Races?.Read(this, warp, lane, at, bytes);
            }
            for (int i = 0; i < destinations.Length; i++)
                warp.Slot(destinations[i])[lane] = Lane.Extend(Read(data[(i * _elementBytes)..], _elementBytes), type, registerBytes);
        }
        warp.Launch.Statistics.AddConflicts(Statement.Line, conflicts.Count());
    }

    private static ulong Read(ReadOnlySpan<byte> data, int bytes) => bytes switch
    {
        1 => data[0],
        2 => BitConverter.ToUInt16(data),
        4 => BitConverter.ToUInt32(data),
        _ => BitConverter.ToUInt64(data),
    };
}

/// <summary><c>st</c> of one or more elements side by side. Where lanes store to the same address, the last one stays.</summary>
internal sealed class StoreInstruction(StateSpace space, AddressOperand address, PtxType type, int[] sources) : PtxInstruction
{
    private readonly int _elementBytes = type.Bytes();

    public override int SharedElementBytes => space is StateSpace.Shared or StateSpace.Generic ? Math.Min(4, _elementBytes) : 4;

    public override void Execute(Warp warp, uint mask)
    {
        int bytes = _elementBytes * sources.Length;
        ReadOnlySpan<ulong> bases = warp.Slot(address.Slot);
        var conflicts = new BankConflicts(bytes);
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            (StateSpace actual, ulong at) = StateSpaces.Specific(space, address.Of(bases, lane));
            if (actual == StateSpace.Parameter)
                throw warp.Fault(this, lane, "parameters cannot be written", at);
            Span<byte> data = StateSpaces.Bytes(warp, this, lane, actual, at, bytes, bytes);
            if (actual == StateSpace.Shared)
            {
                conflicts.Add(lane, at);
                warp.Block.NoteWrite(this, warp, lane, at, bytes);
            }
            for (int i = 0; i < sources.Length; i++)
                Write(data[(i * _elementBytes)..], warp.Slot(sources[i])[lane], _elementBytes);
        }
        warp.Block.Events++;
        warp.Launch.Statistics.AddConflicts(Statement.Line, conflicts.Count());
    }

    private static void Write(Span<byte> data, ulong value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
            data[i] = (byte)(value >> 8 * i);
    }
}
