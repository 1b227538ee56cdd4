namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Every opcode the emulator knows, with the decoder of its operands and modifiers.</summary>
internal static class InstructionTable
{
    private delegate PtxInstruction Decoder(PtxStatement statement, OperandBinder binder);

    private static readonly Dictionary<string, Decoder> Decoders = new()
    {
        ["mov"] = MoveDecoder.Move,
        ["selp"] = MoveDecoder.Select,
        ["slct"] = MoveDecoder.SelectBySign,
        ["setp"] = CompareDecoder.SetPredicate,
        ["testp"] = CompareDecoder.TestPredicate,
        ["cvt"] = ConversionDecoder.Convert,
        ["cvta"] = MemoryDecoder.ConvertAddress,
        ["lop3"] = MoveDecoder.Logic,
        ["bfi"] = MoveDecoder.Insert,
        ["bra"] = FlowDecoder.Branch,
        ["ret"] = FlowDecoder.Exit,
        ["exit"] = FlowDecoder.Exit,
        ["trap"] = FlowDecoder.Trap,
        ["nanosleep"] = FlowDecoder.Sleep,
        ["bar"] = FlowDecoder.Barrier,
        ["barrier"] = FlowDecoder.Barrier,
        ["ld"] = MemoryDecoder.Load,
        ["ldu"] = MemoryDecoder.Load,
        ["st"] = MemoryDecoder.Store,
        ["atom"] = AtomicDecoder.Atomic,
        ["red"] = AtomicDecoder.Reduction,
        ["membar"] = FlowDecoder.Nothing,
        ["fence"] = FlowDecoder.Nothing,
        ["prefetch"] = FlowDecoder.Nothing,
        ["prefetchu"] = FlowDecoder.Nothing,
        ["griddepcontrol"] = FlowDecoder.Nothing,
        ["createpolicy"] = MoveDecoder.Policy,
        ["shfl"] = WarpDecoder.Shuffle,
        ["vote"] = WarpDecoder.Vote,
        ["activemask"] = WarpDecoder.ActiveMask,
        ["redux"] = WarpDecoder.Reduce,
        ["elect"] = WarpDecoder.Elect,
        ["ldmatrix"] = MatrixDecoder.Load,
        ["stmatrix"] = MatrixDecoder.Store,
        ["mma"] = MatrixDecoder.Multiply,
        ["cp"] = CopyDecoder.Copy,
    };

    /// <summary>Decodes one instruction; what is not understood to the last modifier is an error.</summary>
    public static PtxInstruction Decode(PtxStatement statement, OperandBinder binder)
    {
        if (statement.Name is "and" or "or" or "xor" or "not" && statement.Remaining == "pred")
            return MoveDecoder.Predicates(statement, binder);
        if (Decoders.TryGetValue(statement.Name, out Decoder? decoder))
            return decoder(statement, binder);
        return ArithmeticDecoder.TryDecode(statement, binder) ?? throw statement.Unknown("the emulator does not know this instruction");
    }
}
