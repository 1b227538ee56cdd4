namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>A pure function of up to three sources in one lane.</summary>
internal interface ILaneOperation
{
    static abstract ulong Apply(ulong a, ulong b, ulong c);
}

/// <summary>Applies a pure function in every lane of the mask.</summary>
internal sealed class LaneInstruction<TOperation>(int destination, int a, int b, int c) : PtxInstruction
    where TOperation : struct, ILaneOperation
{
    public override void Execute(Warp warp, uint mask)
    {
        ReadOnlySpan<ulong> left = warp.Slot(a);
        ReadOnlySpan<ulong> middle = warp.Slot(b);
        ReadOnlySpan<ulong> right = warp.Slot(c);
        Span<ulong> result = warp.Slot(destination);
        if (mask == uint.MaxValue)
        {
            for (int lane = 0; lane < Warp.Lanes; lane++)
                result[lane] = TOperation.Apply(left[lane], middle[lane], right[lane]);
            return;
        }
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((mask >> lane & 1) != 0)
                result[lane] = TOperation.Apply(left[lane], middle[lane], right[lane]);
        }
    }
}

/// <summary>As <see cref="LaneInstruction{TOperation}"/>, for results narrower than their register: signed ones are extended.</summary>
internal sealed class ExtendingInstruction<TOperation>(int destination, int source, PtxType type, int registerBytes) : PtxInstruction
    where TOperation : struct, ILaneOperation
{
    public override void Execute(Warp warp, uint mask)
    {
        ReadOnlySpan<ulong> values = warp.Slot(source);
        Span<ulong> result = warp.Slot(destination);
        for (int lane = 0; lane < Warp.Lanes; lane++)
        {
            if ((mask >> lane & 1) != 0)
                result[lane] = Lane.Extend(TOperation.Apply(values[lane], 0, 0), type, registerBytes);
        }
    }
}
