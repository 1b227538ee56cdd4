namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Branches, exits, barriers, and instructions that change nothing the emulator shows.</summary>
internal static class FlowDecoder
{
    public static PtxInstruction Branch(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("uni");
        statement.Finish(1);
        return new BranchInstruction(binder.Label(statement.Operands[0]));
    }

    public static PtxInstruction Exit(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("uni");
        statement.Finish(0);
        return new ExitInstruction();
    }

    public static PtxInstruction Trap(PtxStatement statement, OperandBinder binder)
    {
        statement.Finish(0);
        return new TrapInstruction();
    }

    public static PtxInstruction Sleep(PtxStatement statement, OperandBinder binder)
    {
        statement.Require("u32");
        statement.Finish(1);
        binder.Source(statement.Operands[0], PtxType.U32);
        return new SleepInstruction();
    }

    /// <summary>Of all fences only those before asynchronous accesses to shared memory show.</summary>
    public static PtxInstruction Fence(PtxStatement statement, OperandBinder binder)
    {
        bool isProxyFence = statement.Take("proxy") && statement.Take("async");
        bool isForGlobalMemory = statement.Take("global");
        bool isForBarriers = statement.Take("mbarrier_init");
        MemoryDecoder.SkipOrdering(statement);
        statement.Skip("sc", "alias", "tensormap::generic", "shared::cta", "shared::cluster");
        statement.Finish(0, 2);
        return isForBarriers || isProxyFence && !isForGlobalMemory ? new ProxyFenceInstruction(isForBarriers) : new NoInstruction();
    }

    public static PtxInstruction Nothing(PtxStatement statement, OperandBinder binder) => new NoInstruction();

    /// <summary>bar{.cta}.{sync, arrive, warp.sync, red.popc.u32}, barrier with the same.</summary>
    public static PtxInstruction Barrier(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("cta", "aligned");
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        if (statement.Take("warp"))
        {
            statement.Require("sync");
            statement.Finish(1);
            return new WarpBarrierInstruction(binder.Source(operands[0], PtxType.B32));
        }
        if (statement.Take("red"))
        {
            statement.Require("popc");
            statement.Require("u32");
            statement.Finish(3, 4);
            return new CountingBarrierInstruction(binder.Destination(operands[0]), binder.Source(operands[1], PtxType.U32),
                operands.Count == 4 ? binder.Source(operands[2], PtxType.U32) : null, binder.Predicate(operands[^1]));
        }
        bool waits = statement.Require("sync", "arrive") == "sync";
        statement.Finish(1, 2);
        if (!waits && operands.Count == 1)
            throw statement.Unknown("an arrival must name the number of threads");
        return new BarrierInstruction(binder.Source(operands[0], PtxType.U32),
            operands.Count == 2 ? binder.Source(operands[1], PtxType.U32) : null, waits);
    }
}
