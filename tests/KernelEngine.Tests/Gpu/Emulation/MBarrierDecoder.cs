namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The <c>mbarrier</c> family.</summary>
internal static class MBarrierDecoder
{
    public static PtxInstruction Decode(PtxStatement statement, OperandBinder binder)
    {
        string operation = statement.Require(
            "init", "inval", "arrive", "arrive_drop", "test_wait", "try_wait", "expect_tx", "complete_tx");
        // An arrival may expect bytes first.
        bool expects = operation is "arrive" or "arrive_drop" && statement.Take("expect_tx");
        bool isParity = operation is "test_wait" or "try_wait" && statement.Take("parity");
        MemoryDecoder.SkipOrdering(statement);
        statement.Skip("noComplete");
        StateSpace space = MemoryDecoder.Space(statement);
        statement.Require("b64");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        switch (operation)
        {
            case "init":
                statement.Finish(2);
                return new MBarrierInitInstruction(space, binder.Address(operands[0]), binder.Source(operands[1], PtxType.U32));
            case "inval":
                statement.Finish(1);
                return new MBarrierInvalidateInstruction(space, binder.Address(operands[0]));
            case "expect_tx" or "complete_tx":
                statement.Finish(2);
                return new MBarrierTransactionInstruction(
                    space, binder.Address(operands[0]), binder.Source(operands[1], PtxType.U32), operation == "complete_tx");
            case "test_wait" or "try_wait":
                statement.Finish(3, 4);
                return new MBarrierPollInstruction(space, binder.PredicateDestination(operands[0]), binder.Address(operands[1]),
                    binder.Source(operands[2], isParity ? PtxType.U32 : PtxType.U64), isParity);
            default:
                statement.Finish(2, 3);
                int count = operands.Count == 3 ? binder.Source(operands[2], PtxType.U32) : binder.Constant(1);
                if (expects && operands.Count != 3)
                    throw statement.Unknown("needs the number of bytes");
                return new MBarrierArriveInstruction(space, binder.Destination(operands[0]), binder.Address(operands[1]),
                    expects ? binder.Constant(1) : count, expects ? count : binder.Constant(0), operation == "arrive_drop");
        }
    }
}
