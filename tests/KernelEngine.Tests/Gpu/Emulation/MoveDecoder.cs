namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Moves, packing and unpacking, selection, and the operations on predicates.</summary>
internal static class MoveDecoder
{
    public static PtxInstruction Move(PtxStatement statement, OperandBinder binder)
    {
        PtxType type = statement.TakeType();
        statement.Finish(2);
        (PtxOperand to, PtxOperand from) = (statement.Operands[0], statement.Operands[1]);
        if (type == PtxType.Pred)
            return new PredicateInstruction(binder.PredicateDestination(to), binder.Predicate(from), binder.Always, PredicateJoin.None);
        if (OperandBinder.Counter(from) != null)
            return new CounterInstruction(binder.Destination(to), type.Bytes());
        if (from is PtxVector parts)
        {
            PtxType part = Part(statement, type, parts.Elements.Count);
            return new PackInstruction(binder.Destination(to), [.. parts.Elements.Select(e => binder.Source(e, part))], part.Bytes() * 8);
        }
        if (to is PtxVector pieces)
        {
            int bits = Part(statement, type, pieces.Elements.Count).Bytes() * 8;
            return new UnpackInstruction([.. pieces.Elements.Select(binder.Destination)], binder.Source(from, type), bits);
        }
        (int destination, int source, int none) = (binder.Destination(to), binder.Source(from, type), binder.Constant(0));
        return type.Bytes() switch
        {
            2 => new LaneInstruction<IntegerOperations.Move<ushort>>(destination, source, none, none),
            4 => new LaneInstruction<IntegerOperations.Move<uint>>(destination, source, none, none),
            8 => new LaneInstruction<IntegerOperations.Move<ulong>>(destination, source, none, none),
            _ => throw statement.Unknown("no move of this type"),
        };
    }

    /// <summary>selp.type d, a, b, p;</summary>
    public static PtxInstruction Select(PtxStatement statement, OperandBinder binder)
    {
        PtxType type = statement.TakeType();
        statement.Finish(4);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        return new SelectInstruction(
            binder.Destination(operands[0]), binder.SourceReadSometimes(operands[1], type), binder.SourceReadSometimes(operands[2], type),
            binder.Predicate(operands[3]));
    }

    /// <summary>slct.type.{s32, f32} d, a, b, c; gives a where c is not negative.</summary>
    public static PtxInstruction SelectBySign(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("ftz");
        PtxType type = statement.TakeType();
        PtxType sign = statement.TakeType();
        statement.Finish(4);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        (int destination, int a, int b, int c) = (binder.Destination(operands[0]),
            binder.Source(operands[1], type), binder.Source(operands[2], type), binder.Source(operands[3], sign));
        return sign == PtxType.F32
            ? new LaneInstruction<SelectByFloat>(destination, a, b, c)
            : new LaneInstruction<SelectByInteger>(destination, a, b, c);
    }

    /// <summary>lop3.b32 d, a, b, c, table;</summary>
    public static PtxInstruction Logic(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("b32");
        statement.Finish(5);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        return new LogicInstruction(binder.Destination(operands[0]), binder.Source(operands[1], PtxType.B32),
            binder.Source(operands[2], PtxType.B32), binder.Source(operands[3], PtxType.B32), (byte)binder.Immediate(operands[4]));
    }

    /// <summary>bfi.type d, a, b, position, length;</summary>
    public static PtxInstruction Insert(PtxStatement statement, OperandBinder binder)
    {
        PtxType type = statement.TakeType();
        statement.Finish(5);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        return new InsertInstruction(binder.Destination(operands[0]), binder.Source(operands[1], type), binder.Source(operands[2], type),
            binder.Source(operands[3], PtxType.U32), binder.Source(operands[4], PtxType.U32), type.Bytes() * 8);
    }

    /// <summary>and, or, xor and not of predicates.</summary>
    public static PtxInstruction Predicates(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("pred");
        statement.Finish(statement.Name == "not" ? 2 : 3);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        PredicateUse first = binder.Predicate(operands[1]);
        int destination = binder.PredicateDestination(operands[0]);
        return statement.Name switch
        {
            "not" => new PredicateInstruction(destination, first with { IsNegated = !first.IsNegated }, binder.Always, PredicateJoin.None),
            "and" => new PredicateInstruction(destination, first, binder.Predicate(operands[2]), PredicateJoin.And),
            "or" => new PredicateInstruction(destination, first, binder.Predicate(operands[2]), PredicateJoin.Or),
            _ => new PredicateInstruction(destination, first, binder.Predicate(operands[2]), PredicateJoin.Xor),
        };
    }

    /// <summary>A cache policy is a number that changes no result.</summary>
    public static PtxInstruction Policy(PtxStatement statement, OperandBinder binder)
    {
        int none = binder.Constant(0);
        return new LaneInstruction<IntegerOperations.Move<ulong>>(binder.Destination(statement.Operands[0]), none, none, none);
    }

    private static PtxType Part(PtxStatement statement, PtxType whole, int parts) => (whole.Bytes(), parts) switch
    {
        (4, 2) or (8, 4) => PtxType.B16,
        (8, 2) => PtxType.B32,
        (2, 2) or (4, 4) => PtxType.B8,
        (4 or 8, 1) => whole,
        _ => throw statement.Unknown($"{parts} parts of {whole.Bytes()} bytes"),
    };

    private readonly struct SelectByInteger : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => (int)c >= 0 ? a : b;
    }

    private readonly struct SelectByFloat : ILaneOperation
    {
        public static ulong Apply(ulong a, ulong b, ulong c) => Lane.Single(c) >= 0 ? a : b;
    }
}
