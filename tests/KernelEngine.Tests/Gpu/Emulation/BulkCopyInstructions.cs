using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>What the bulk copies share: they belong to a lane, and read or write shared memory without its ordinary instructions.</summary>
internal abstract class BulkCopyInstruction : PtxInstruction
{
    protected const int BulkAlignment = 16;
    protected const int TensorAlignment = 128;

    public override void Execute(Warp warp, uint mask)
    {
        for (uint rest = mask; rest != 0; rest &= rest - 1)
            ExecuteLane(warp, BitOperations.TrailingZeroCount(rest));
        warp.Block.Events++;
    }

    protected abstract void ExecuteLane(Warp warp, int lane);

    /// <summary>An address in shared memory.</summary>
    protected ulong Shared(Warp warp, int lane, AddressOperand address, int bytes, int alignment)
    {
        (StateSpace space, ulong at) = StateSpaces.Specific(StateSpace.Shared, address.Of(warp.Slot(address.Slot), lane));
        _ = StateSpaces.Bytes(warp, this, lane, space, at, bytes, alignment);
        return at;
    }

    /// <summary>The number of bytes of a copy without a map.</summary>
    protected int Size(Warp warp, int lane, int slot)
    {
        uint bytes = (uint)warp.Slot(slot)[lane];
        return bytes % BulkAlignment == 0 && bytes < 1 << 20 ? (int)bytes : throw warp.Fault(this, lane, $"a copy of {bytes} bytes");
    }

    /// <summary>Starts a load: the destination is lost at once, the bytes come when the barrier is asked.</summary>
    protected void StartLoad(Warp warp, int lane, ulong destination, byte[] data, ulong barrier, Func<ulong, ulong> place)
    {
        SharedMemory shared = warp.Block.Shared;
        MBarrier signalled = warp.Block.MBarriers.Find(this, warp, lane, barrier);
        int thread = warp.Index * Warp.Lanes + lane;
        if (!shared.HasFencedSince(signalled.Initialiser, signalled.Start) && !shared.HasFencedSince(thread, signalled.Start))
        {
            throw warp.Fault(
                this, lane, $"signals the barrier at 0x{barrier:X}, which was initialised without fence.mbarrier_init or fence.proxy.async", barrier);
        }
        warp.Block.Races?.Write(this, warp, lane, destination, data.Length);
        shared.At(destination, data.Length).Fill(byte.MaxValue);
        shared.NoteAsynchronousWrite(destination, data.Length);
        warp.Block.BulkCopies.Add(new BulkLoad(barrier, data.Length, this, warp.Block.Races?.Snapshot(warp) ?? [], () =>
        {
            for (int i = 0; i < data.Length; i += BulkAlignment)
                data.AsSpan(i, BulkAlignment).CopyTo(shared.At(place(destination + (ulong)i), BulkAlignment));
            shared.NoteAsynchronousWrite(destination, data.Length);
            warp.Block.Races?.Land(this, destination, data.Length, signalled.Place, (int)signalled.Phase + 1);
        }));
    }

    /// <summary>Starts a store, which may only read what its thread may see.</summary>
    protected void StartStore(Warp warp, int lane, ulong source, int bytes, Action<byte[]> write)
    {
        int thread = warp.Index * Warp.Lanes + lane;
        for (int i = 0; i < bytes; i += SharedMemory.GranuleBytes)
        {
            int writer = warp.Block.Shared.UnfencedWriter(source + (ulong)i, thread);
            if (writer >= 0)
                throw warp.Fault(this, lane, $"reads 0x{source + (ulong)i:X}, which thread {writer} stored without fence.proxy.async", source);
        }
        warp.Block.Races?.Read(this, warp, lane, source, bytes);
        warp.Block.BulkStores.Add(new BulkStore(this, warp, lane, warp.Block.BulkStores.OpenGroup(thread), source, bytes, write));
    }

    protected Span<byte> Global(Warp warp, int lane, ulong address, int bytes) =>
        StateSpaces.Bytes(warp, this, lane, StateSpace.Global, address, bytes, 1);
}

/// <summary><c>cp.async.bulk.shared.global</c></summary>
internal sealed class BulkLoadInstruction(AddressOperand destination, AddressOperand source, int size, AddressOperand barrier) : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane)
    {
        int bytes = Size(warp, lane, size);
        ulong to = Shared(warp, lane, destination, bytes, BulkAlignment);
        ulong from = source.Of(warp.Slot(source.Slot), lane);
        byte[] data = StateSpaces.Bytes(warp, this, lane, StateSpace.Global, from, bytes, BulkAlignment).ToArray();
        StartLoad(warp, lane, to, data, barrier.Of(warp.Slot(barrier.Slot), lane), static at => at);
    }
}

/// <summary><c>cp.async.bulk.global.shared</c>, and its form that adds float32 values.</summary>
internal sealed class BulkStoreInstruction(AddressOperand destination, AddressOperand source, int size, bool isSum) : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane)
    {
        int bytes = Size(warp, lane, size);
        ulong from = Shared(warp, lane, source, bytes, BulkAlignment);
        ulong to = destination.Of(warp.Slot(destination.Slot), lane);
        _ = StateSpaces.Bytes(warp, this, lane, StateSpace.Global, to, bytes, BulkAlignment);
        StartStore(warp, lane, from, bytes, data => BulkWrites.Write(data, Global(warp, lane, to, bytes), isSum));
    }
}

/// <summary><c>cp.async.bulk.tensor</c> into shared memory; what lies outside the tensor becomes zero.</summary>
internal sealed class TensorLoadInstruction(AddressOperand destination, AddressOperand map, int[] coordinates, AddressOperand barrier)
    : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane)
    {
        TensorMap tensor = BulkWrites.Map(this, warp, lane, map, coordinates, out int[] at);
        ulong to = Shared(warp, lane, destination, tensor.BoxBytes, TensorAlignment);
        var data = new byte[tensor.BoxBytes];
        for (int row = 0; row < tensor.Rows; row++)
        {
            (int first, int count, ulong address) = tensor.Row(row, at);
            if (count > 0)
            {
                Global(warp, lane, address, count * tensor.ElementBytes)
                    .CopyTo(data.AsSpan(row * tensor.RowBytes + first * tensor.ElementBytes));
            }
        }
        StartLoad(warp, lane, to, data, barrier.Of(warp.Slot(barrier.Slot), lane), tensor.Place);
    }
}

/// <summary>
/// <c>cp.async.bulk.tensor</c> out of shared memory, and its form that adds float32 values; nothing outside the tensor is touched.
/// </summary>
internal sealed class TensorStoreInstruction(AddressOperand map, int[] coordinates, AddressOperand source, bool isSum) : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane)
    {
        TensorMap tensor = BulkWrites.Map(this, warp, lane, map, coordinates, out int[] at);
        if (isSum && tensor.ElementBytes != 4)
            throw warp.Fault(this, lane, "the emulator adds float32 only");
        ulong from = Shared(warp, lane, source, tensor.BoxBytes, TensorAlignment);
        StartStore(warp, lane, from, tensor.BoxBytes, data =>
        {
            var dense = new byte[data.Length];
            for (int i = 0; i < data.Length; i += BulkAlignment)
                data.AsSpan((int)(tensor.Place(from + (ulong)i) - from), BulkAlignment).CopyTo(dense.AsSpan(i));
            for (int row = 0; row < tensor.Rows; row++)
            {
                (int first, int count, ulong address) = tensor.Row(row, at);
                int bytes = count * tensor.ElementBytes;
                if (count > 0)
                {
                    BulkWrites.Write(dense.AsSpan(row * tensor.RowBytes + first * tensor.ElementBytes, bytes),
                        Global(warp, lane, address, bytes), isSum);
                }
            }
        });
    }
}

/// <summary><c>cp.async.bulk.commit_group</c></summary>
internal sealed class BulkCommitInstruction : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane) => warp.Block.BulkStores.Commit(warp.Index * Warp.Lanes + lane);
}

/// <summary><c>cp.async.bulk.wait_group{.read}</c></summary>
internal sealed class BulkWaitInstruction(int groupsLeft, bool isForReads) : BulkCopyInstruction
{
    protected override void ExecuteLane(Warp warp, int lane) =>
        warp.Block.BulkStores.Wait(warp.Index * Warp.Lanes + lane, groupsLeft, isForReads);
}

/// <summary>Steps of bulk copies.</summary>
internal static class BulkWrites
{
    /// <summary>The map a lane names, and its coordinates.</summary>
    public static TensorMap Map(PtxInstruction instruction, Warp warp, int lane, AddressOperand map, int[] coordinates, out int[] at)
    {
        (StateSpace space, ulong address) = StateSpaces.Specific(StateSpace.Generic, map.Of(warp.Slot(map.Slot), lane));
        // A map holds the address it was registered at, so that a copy of it serves as well.
        ulong registered = BitConverter.ToUInt64(StateSpaces.Bytes(warp, instruction, lane, space, address, TensorMap.Bytes, TensorMap.Alignment));
        if (!warp.Launch.Gpu.TensorMaps.TryGetValue(registered, out TensorMap? tensor))
            throw warp.Fault(instruction, lane, $"there is no tensor map at 0x{address:X}", address);
        if (tensor.Rank != coordinates.Length)
            throw warp.Fault(instruction, lane, $"{coordinates.Length} coordinates for a tensor of {tensor.Rank} dimensions", address);
        at = [.. coordinates.Select(slot => (int)warp.Slot(slot)[lane])];
        return tensor;
    }

    /// <summary>Stores or adds.</summary>
    public static void Write(ReadOnlySpan<byte> data, Span<byte> destination, bool isSum)
    {
        if (!isSum)
        {
            data.CopyTo(destination);
            return;
        }
        for (int i = 0; i < data.Length; i += 4)
            BitConverter.TryWriteBytes(destination[i..], BitConverter.ToSingle(destination[i..]) + BitConverter.ToSingle(data[i..]));
    }
}
