namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Loads, stores, and conversions of addresses.</summary>
internal static class MemoryDecoder
{
    /// <summary>ld{.ordering}{.scope}{.space}{.hints}{.vec}.type d, [a]{, policy};</summary>
    public static PtxInstruction Load(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, int count, PtxType type) = Shape(statement);
        statement.Finish(2, 3);
        IReadOnlyList<PtxOperand> elements = OperandBinder.Elements(statement.Operands[0]);
        if (elements.Count != count)
            throw statement.Unknown($"{elements.Count} registers for {count} elements");
        AddressOperand address = binder.Address(statement.Operands[1]);
        int width = elements.Max(binder.Width);
        return new LoadInstruction(space, address, type, width, [.. elements.Select(binder.Destination)]);
    }

    /// <summary>st{.ordering}{.scope}{.space}{.hints}{.vec}.type [a], b{, policy};</summary>
    public static PtxInstruction Store(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, int count, PtxType type) = Shape(statement);
        statement.Finish(2, 3);
        IReadOnlyList<PtxOperand> elements = OperandBinder.Elements(statement.Operands[1]);
        if (elements.Count != count)
            throw statement.Unknown($"{elements.Count} registers for {count} elements");
        return new StoreInstruction(space, binder.Address(statement.Operands[0]), type, [.. elements.Select(e => binder.Source(e, type))]);
    }

    /// <summary>cvta{.to}.space.size d, a;</summary>
    public static PtxInstruction ConvertAddress(PtxStatement statement, OperandBinder binder)
    {
        bool isToSpace = statement.Take("to");
        StateSpace space = Space(statement);
        statement.Require("u64", "u32");
        statement.Finish(2);
        ulong window = space switch
        {
            StateSpace.Shared => StateSpaces.SharedWindow,
            StateSpace.Local => StateSpaces.LocalWindow,
            StateSpace.Parameter => StateSpaces.ParameterWindow,
            StateSpace.Global => 0,
            _ => throw statement.Unknown("no generic addresses of this space"),
        };
        return new LaneInstruction<IntegerOperations.Add<ulong>>(binder.Destination(statement.Operands[0]),
            binder.Source(statement.Operands[1], PtxType.U64), binder.Constant(isToSpace ? 0 - window : window), binder.Constant(0));
    }

    /// <summary>Takes the state space of an opcode; none means generic.</summary>
    public static StateSpace Space(PtxStatement statement) =>
        statement.TakeOne("global", "shared", "shared::cta", "shared::cluster", "local", "param", "param::entry") switch
        {
            "global" => StateSpace.Global,
            "local" => StateSpace.Local,
            "param" or "param::entry" => StateSpace.Parameter,
            null => StateSpace.Generic,
            _ => StateSpace.Shared,
        };

    /// <summary>Takes what tells the order or the scope of an access, which the emulator keeps anyway.</summary>
    public static void SkipOrdering(PtxStatement statement) => statement.Skip(
        "weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "cta", "cluster", "gpu", "sys", "mmio");

    private static (StateSpace Space, int Count, PtxType Type) Shape(PtxStatement statement)
    {
        SkipOrdering(statement);
        statement.Skip("nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L2::64B", "L2::128B", "L2::256B", "L2::cache_hint",
            "L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
            "L2::evict_normal", "L2::evict_first", "L2::evict_last");
        StateSpace space = Space(statement);
        int count = statement.TakeOne("v2", "v4", "v8") switch
        {
            "v2" => 2,
            "v4" => 4,
            "v8" => 8,
            _ => 1,
        };
        return (space, count, statement.TakeType());
    }
}
