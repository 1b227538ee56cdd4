namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Loads or stores of 8 x 8 matrices of 16-bit elements, spread over a warp. Lane 8i + r gives the address of row r of matrix i, 16 bytes
/// that must be aligned. Lane l holds of each matrix the two elements (l / 4, 2 (l % 4)) and the one to its right; transposed, the two
/// elements (2 (l % 4), l / 4) and the one below.
/// </summary>
internal abstract class MatrixAccessInstruction(StateSpace space, AddressOperand address, int matrices, bool isTransposed) : PtxInstruction
{
    protected const int RowBytes = 16;
    protected const int Rows = 8;
    private const int ElementBytes = 2;

    public override bool IsCollective => true;

    /// <summary>The bytes of element 0 or 1 of a lane's register.</summary>
    protected Span<byte> Element(ReadOnlySpan<ulong> rows, Warp warp, int matrix, int lane, int index)
    {
        int along = lane % 4 * 2 + index;
        (int row, int column) = isTransposed ? (along, lane / 4) : (lane / 4, along);
        return warp.Block.Shared.At(rows[matrix * Rows + row] + (ulong)(column * ElementBytes), ElementBytes);
    }

    /// <summary>The checked addresses of all rows.</summary>
    protected void Rows8(Warp warp, uint mask, Span<ulong> rows)
    {
        if (mask != uint.MaxValue)
            throw warp.Fault(this, -1, "needs a whole warp");
        ReadOnlySpan<ulong> bases = warp.Slot(address.Slot);
        for (int matrix = 0; matrix < matrices; matrix++)
        {
            var conflicts = new BankConflicts(RowBytes);
            for (int row = 0; row < Rows; row++)
            {
                int lane = matrix * Rows + row;
                (StateSpace actual, ulong at) = StateSpaces.Specific(space, address.Of(bases, lane));
                if (actual != StateSpace.Shared)
                    throw warp.Fault(this, lane, $"0x{at:X} is not in shared memory", at);
                _ = StateSpaces.Bytes(warp, this, lane, actual, at, RowBytes, RowBytes);
                rows[lane] = at;
                conflicts.Add(lane, at);
            }
            warp.Launch.Statistics.AddConflicts(Statement.Line, conflicts.Count());
        }
    }
}

/// <summary><c>ldmatrix</c></summary>
internal sealed class MatrixLoadInstruction(StateSpace space, AddressOperand address, int[] destinations, bool isTransposed)
    : MatrixAccessInstruction(space, address, destinations.Length, isTransposed)
{
    public override void Execute(Warp warp, uint mask)
    {
        Span<ulong> rows = stackalloc ulong[Warp.Lanes];
        Rows8(warp, mask, rows);
        for (int lane = 0; lane < destinations.Length * Rows; lane++)
            warp.Block.Races?.Read(this, warp, lane, rows[lane], RowBytes);
        for (int matrix = 0; matrix < destinations.Length; matrix++)
        {
            Span<ulong> result = warp.Slot(destinations[matrix]);
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                uint low = BitConverter.ToUInt16(Element(rows, warp, matrix, lane, 0));
                uint high = BitConverter.ToUInt16(Element(rows, warp, matrix, lane, 1));
                result[lane] = low | high << 16;
            }
        }
    }
}

/// <summary><c>stmatrix</c></summary>
internal sealed class MatrixStoreInstruction(StateSpace space, AddressOperand address, int[] sources, bool isTransposed)
    : MatrixAccessInstruction(space, address, sources.Length, isTransposed)
{
    public override void Execute(Warp warp, uint mask)
    {
        Span<ulong> rows = stackalloc ulong[Warp.Lanes];
        Rows8(warp, mask, rows);
        for (int matrix = 0; matrix < sources.Length; matrix++)
        {
            ReadOnlySpan<ulong> values = warp.Slot(sources[matrix]);
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                BitConverter.TryWriteBytes(Element(rows, warp, matrix, lane, 0), (ushort)values[lane]);
                BitConverter.TryWriteBytes(Element(rows, warp, matrix, lane, 1), (ushort)(values[lane] >> 16));
            }
        }
        for (int lane = 0; lane < sources.Length * Rows; lane++)
            warp.Block.NoteWrite(this, warp, lane, rows[lane], RowBytes);
        warp.Block.Events++;
    }
}
