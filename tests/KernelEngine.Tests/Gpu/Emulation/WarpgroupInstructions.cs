namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>wgmma.fence</c>: orders the warp's ordinary use of registers before products that follow.</summary>
internal sealed class WarpgroupFenceInstruction : PtxInstruction
{
    public override bool IsCollective => true;

    public override void Execute(Warp warp, uint mask) => warp.Products.Fence();
}

/// <summary><c>wgmma.commit_group</c></summary>
internal sealed class WarpgroupCommitInstruction : PtxInstruction
{
    public override bool IsCollective => true;

    public override void Execute(Warp warp, uint mask) => warp.Products.Commit();
}

/// <summary><c>wgmma.wait_group</c></summary>
internal sealed class WarpgroupWaitInstruction(int groupsLeft) : PtxInstruction
{
    public override bool IsCollective => true;

    public override void Execute(Warp warp, uint mask) => warp.Products.Wait(groupsLeft);
}

/// <summary>
/// <c>wgmma.mma_async.m64nNk16</c>: D = A B + D for four neighbouring warps; warp w of the four computes rows 16 w to 16 w + 15. With
/// g = lane / 4 and t = lane % 4, accumulator i of a lane is the element of row 16 w + g + 8 (i / 2 % 2) and column 8 (i / 4) + 2t + i % 2.
/// A warp computes when it issues the instruction; the registers and the memory it uses are out of bounds until it waits.
/// </summary>
internal sealed class WarpgroupMultiplyInstruction(PtxType type, int columns) : PtxInstruction
{
    private const int RowsOfWarp = 16;
    private const int Depth = MatrixFragments.Depth;

    public required int[] Accumulators { get; init; }

    /// <summary>Four registers, or none when A lies in shared memory.</summary>
    public required int[] RegistersOfA { get; init; }

    public required int DescriptorOfA { get; init; }

    public required int DescriptorOfB { get; init; }

    /// <summary>Whether D is added, or only written.</summary>
    public required PredicateUse Accumulates { get; init; }

    public required int SignOfA { get; init; }

    public required int SignOfB { get; init; }

    public required bool IsAAlongK { get; init; }

    public required bool IsBAlongK { get; init; }

    public override bool IsCollective => true;

    public override void Execute(Warp warp, uint mask)
    {
        if (mask != uint.MaxValue || warp.Index / 4 * 4 + 4 > warp.Launch.Warps)
            throw warp.Fault(this, -1, "needs four whole warps");
        uint accumulates = Accumulates.Lanes(warp);
        if (accumulates is not (0 or uint.MaxValue))
            throw warp.Fault(this, -1, "scale-d is not the same in all lanes");
        OperandTile b = Tile(warp, DescriptorOfB, IsBAlongK, 0, columns);
        OperandTile? a = DescriptorOfA < 0 ? null : Tile(warp, DescriptorOfA, IsAAlongK, warp.Index % 4 * RowsOfWarp, RowsOfWarp);
        warp.Block.Warpgroups.Record(this, warp, a?.Descriptor.Bits ?? 0, b.Descriptor.Bits, accumulates != 0);
        warp.Products.Start(this, a, b, accumulates != 0);

        float[] left = warp.Products.LeftRows;
        if (a is OperandTile tile)
            tile.Read(warp.Block.Shared, type, left, Depth, 1);
        else
            MatrixFragments.GatherA(warp, RegistersOfA, type, left);
        if (SignOfA * SignOfB < 0)
        {
            for (int i = 0; i < left.Length; i++)
                left[i] = -left[i];
        }
        float[] right = warp.Block.Warpgroups.Columns(b, type, columns, warp.Block.Shared);
        Span<float> sum = stackalloc float[RowsOfWarp * columns];
        sum.Clear();
        if (accumulates != 0)
            Move(warp, sum, isStore: false);
        for (int row = 0; row < RowsOfWarp; row++)
            MatrixFragments.AddRow(left.AsSpan(row * Depth, Depth), right, sum.Slice(row * columns, columns));
        Move(warp, sum, isStore: true);
    }

    private OperandTile Tile(Warp warp, int slot, bool isAlongK, int first, int size)
    {
        var descriptor = new MatrixDescriptor(warp.Uniform(this, slot, uint.MaxValue), isAlongK);
        if (descriptor.Problem() is string problem)
            throw warp.Fault(this, -1, problem);
        var tile = new OperandTile(descriptor, first, size);
        foreach (ulong address in tile.Chunks())
        {
            _ = StateSpaces.Bytes(warp, this, 0, StateSpace.Shared, address, SharedMemory.GranuleBytes, SharedMemory.GranuleBytes);
            warp.Block.Races?.Read(this, warp, 0, address, SharedMemory.GranuleBytes);
            int writer = warp.Block.Shared.UnfencedWriter(address, warp.Index * Warp.Lanes);
            if (writer >= 0)
                throw warp.Fault(this, -1, $"reads 0x{address:X}, which thread {writer} stored without fence.proxy.async", address);
        }
        return tile;
    }

    private void Move(Warp warp, Span<float> sum, bool isStore)
    {
        for (int i = 0; i < Accumulators.Length; i++)
        {
            Span<ulong> values = warp.Slot(Accumulators[i]);
            for (int lane = 0; lane < Warp.Lanes; lane++)
            {
                ref float element = ref sum[(lane / 4 + i / 2 % 2 * 8) * columns + i / 4 * 8 + lane % 4 * 2 + i % 2];
                if (isStore)
                    values[lane] = Lane.Put(element);
                else
                    element = Lane.Single(values[lane]);
            }
        }
    }
}
