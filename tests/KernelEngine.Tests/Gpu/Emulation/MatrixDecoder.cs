namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Matrix instructions of one warp: <c>ldmatrix</c>, <c>stmatrix</c>, <c>mma</c>.</summary>
internal static class MatrixDecoder
{
    /// <summary>ldmatrix.sync.aligned.m8n8.x{1,2,4}{.trans}{.shared}.b16 {d...}, [p];</summary>
    public static PtxInstruction Load(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, int count, bool isTransposed) = Shape(statement);
        statement.Finish(2);
        int[] registers = [.. OperandBinder.Elements(statement.Operands[0]).Select(binder.Destination)];
        if (registers.Length != count)
            throw statement.Unknown($"{registers.Length} registers for {count} matrices");
        return new MatrixLoadInstruction(space, binder.Address(statement.Operands[1]), registers, isTransposed);
    }

    /// <summary>stmatrix.sync.aligned.m8n8.x{1,2,4}{.trans}{.shared}.b16 [p], {a...};</summary>
    public static PtxInstruction Store(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, int count, bool isTransposed) = Shape(statement);
        statement.Finish(2);
        int[] registers = [.. OperandBinder.Elements(statement.Operands[1]).Select(e => binder.Source(e, PtxType.B32))];
        if (registers.Length != count)
            throw statement.Unknown($"{registers.Length} registers for {count} matrices");
        return new MatrixStoreInstruction(space, binder.Address(statement.Operands[0]), registers, isTransposed);
    }

    /// <summary>mma.sync.aligned.m16n8k{16,8}.row.col.f32.{bf16,f16}.{bf16,f16}.f32 d, a, b, c;</summary>
    public static PtxInstruction Multiply(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("sync");
        statement.Require("aligned");
        int depth = statement.Require("m16n8k16", "m16n8k8") == "m16n8k16" ? 16 : 8;
        statement.Require("row");
        statement.Require("col");
        statement.Require("f32");
        PtxType type = statement.TakeType();
        PtxType other = statement.TakeType();
        statement.Require("f32");
        statement.Finish(4);
        if (type is not (PtxType.BF16 or PtxType.F16) || other != type)
            throw statement.Unknown("the emulator multiplies bf16 or f16");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        int[] a = Sources(statement, binder, operands[1], PtxType.B32, depth / 4);
        int[] b = Sources(statement, binder, operands[2], PtxType.B32, depth / 8);
        int[] c = Sources(statement, binder, operands[3], PtxType.F32, 4);
        int[] d = [.. OperandBinder.Elements(operands[0]).Select(binder.Destination)];
        if (d.Length != 4)
            throw statement.Unknown($"{d.Length} registers instead of 4");
        return new MatrixMultiplyInstruction(type, depth, d, a, b, c);
    }

    private static int[] Sources(PtxStatement statement, OperandBinder binder, PtxOperand operand, PtxType type, int count)
    {
        IReadOnlyList<PtxOperand> elements = OperandBinder.Elements(operand);
        if (elements.Count != count)
            throw statement.Unknown($"{elements.Count} registers instead of {count}");
        return [.. elements.Select(e => binder.Source(e, type))];
    }

    private static (StateSpace Space, int Count, bool IsTransposed) Shape(PtxStatement statement)
    {
        statement.Require("sync");
        statement.Require("aligned");
        statement.Require("m8n8");
        int count = statement.Require("x1", "x2", "x4")[1] - '0';
        bool isTransposed = statement.Take("trans");
        StateSpace space = MemoryDecoder.Space(statement);
        statement.Require("b16");
        return (space, count, isTransposed);
    }
}
