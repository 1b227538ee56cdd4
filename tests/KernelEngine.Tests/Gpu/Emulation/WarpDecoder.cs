namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Exchange and votes between the lanes of a warp.</summary>
internal static class WarpDecoder
{
    /// <summary>shfl.sync.mode.b32 d{|p}, a, b, c, members;</summary>
    public static PtxInstruction Shuffle(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("sync");
        string mode = statement.Require("up", "down", "bfly", "idx");
        statement.Require("b32");
        statement.Finish(5);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        var pair = operands[0] as PtxPair;
        return new ShuffleInstruction(mode, binder.Destination(pair?.First ?? operands[0]), binder.PredicateDestination(pair?.Second),
            binder.Source(operands[1], PtxType.B32), binder.Source(operands[2], PtxType.B32), binder.Source(operands[3], PtxType.B32),
            binder.Source(operands[4], PtxType.B32));
    }

    /// <summary>vote.sync.{all, any, uni}.pred p, q, members; vote.sync.ballot.b32 d, q, members;</summary>
    public static PtxInstruction Vote(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("sync");
        string mode = statement.Require("all", "any", "uni", "ballot");
        statement.Require(mode == "ballot" ? "b32" : "pred");
        statement.Finish(3);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        PredicateUse predicate = binder.Predicate(operands[1]);
        int members = binder.Source(operands[2], PtxType.B32);
        return mode == "ballot"
            ? new BallotInstruction(binder.Destination(operands[0]), predicate, members)
            : new VoteInstruction(mode, binder.PredicateDestination(operands[0]), predicate, members);
    }

    public static PtxInstruction ActiveMask(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("b32");
        statement.Finish(1);
        return new ActiveMaskInstruction(binder.Destination(statement.Operands[0]));
    }

    /// <summary>redux.sync.op.type d, a, members;</summary>
    public static PtxInstruction Reduce(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("sync");
        string operation = statement.Require("add", "min", "max", "and", "or", "xor");
        PtxType type = statement.TakeType();
        statement.Finish(3);
        if (type is not (PtxType.U32 or PtxType.S32 or PtxType.B32))
            throw statement.Unknown("no reduction of this type");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        return new WarpReduceInstruction(operation, type.IsSigned(), binder.Destination(operands[0]), binder.Source(operands[1], type),
            binder.Source(operands[2], PtxType.B32));
    }

    /// <summary>elect.sync d|p, members;</summary>
    public static PtxInstruction Elect(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("sync");
        statement.Finish(2);
        var pair = statement.Operands[0] as PtxPair ?? throw statement.Unknown("needs d|p");
        return new ElectInstruction(binder.Destination(pair.First), binder.PredicateDestination(pair.Second),
            binder.Source(statement.Operands[1], PtxType.B32));
    }
}
