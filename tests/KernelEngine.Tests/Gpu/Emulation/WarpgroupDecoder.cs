using System.Globalization;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>wgmma</c> and <c>setmaxnreg</c>.</summary>
internal static class WarpgroupDecoder
{
    public static PtxInstruction Decode(PtxStatement statement, OperandBinder binder)
    {
        string operation = statement.Require("fence", "commit_group", "wait_group", "mma_async");
        statement.Require("sync");
        statement.Require("aligned");
        switch (operation)
        {
            case "fence":
                statement.Finish(0);
                return new WarpgroupFenceInstruction();
            case "commit_group":
                statement.Finish(0);
                return new WarpgroupCommitInstruction();
            case "wait_group":
                statement.Finish(1);
                return new WarpgroupWaitInstruction((int)binder.Immediate(statement.Operands[0]));
            default:
                return Multiply(statement, binder);
        }
    }

    /// <summary>setmaxnreg.{inc,dec}.sync.aligned.u32 count;</summary>
    public static PtxInstruction RegisterCount(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("inc", "dec");
        statement.Require("sync");
        statement.Require("aligned");
        statement.Require("u32");
        statement.Finish(1);
        long count = binder.Immediate(statement.Operands[0]);
        return count is >= 24 and <= 256 && count % 8 == 0 ? new NoInstruction() : throw statement.Unknown($"{count} registers");
    }

    /// <summary>wgmma.mma_async.sync.aligned.m64nNk16.f32.type.type d, a, b, scale-d, scale-a, scale-b{, trans-a}, trans-b;</summary>
    private static WarpgroupMultiplyInstruction Multiply(PtxStatement statement, OperandBinder binder)
    {
        string shape = statement.Remaining.Split('.')[0];
        if (!shape.StartsWith("m64n", StringComparison.Ordinal) || !shape.EndsWith("k16", StringComparison.Ordinal)
            || !int.TryParse(shape[4..^3], CultureInfo.InvariantCulture, out int columns) || columns % 8 != 0 || columns is < 8 or > 256)
        {
            throw statement.Unknown("the emulator multiplies m64nNk16");
        }
        statement.Require(shape);
        statement.Require("f32");
        PtxType type = statement.TakeType();
        if (type is not (PtxType.BF16 or PtxType.F16) || statement.TakeType() != type)
            throw statement.Unknown("the emulator multiplies bf16 or f16");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        var vector = operands[1] as PtxVector;
        statement.Finish(vector == null ? 8 : 7);
        IReadOnlyList<PtxOperand> accumulators = OperandBinder.Elements(operands[0]);
        if (accumulators.Count != columns / 2 || vector is { Elements.Count: not 4 })
            throw statement.Unknown($"{accumulators.Count} accumulators, and {vector?.Elements.Count} registers of A");
        return new WarpgroupMultiplyInstruction(type, columns)
        {
            // Read and written by rules of their own, not by those of ordinary registers.
            Accumulators = [.. accumulators.Select(binder.Register)],
            RegistersOfA = vector == null ? [] : [.. vector.Elements.Select(binder.Register)],
            DescriptorOfA = vector == null ? binder.Source(operands[1], PtxType.B64) : -1,
            DescriptorOfB = binder.Source(operands[2], PtxType.B64),
            Accumulates = binder.Predicate(operands[3]),
            SignOfA = Sign(statement, binder.Immediate(operands[4])),
            SignOfB = Sign(statement, binder.Immediate(operands[5])),
            IsAAlongK = vector != null || binder.Immediate(operands[6]) == 0,
            IsBAlongK = binder.Immediate(operands[^1]) == 0,
        };
    }

    private static int Sign(PtxStatement statement, long scale) => scale is 1 or -1 ? (int)scale : throw statement.Unknown($"a scale of {scale}");
}
