namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// Turns operands into slots of the register file. Literals, addresses of variables and special registers get slots of their own, so
/// that every source an instruction executes on is a slot. It also notes what an instruction reads and writes.
/// </summary>
internal sealed class OperandBinder(PtxProgramBuilder builder)
{
    private readonly Dictionary<ulong, int> _constantSlots = [];
    private readonly Dictionary<int, ulong> _constants = [];
    private readonly Dictionary<SpecialRegister, int> _specialSlots = [];
    private readonly List<int> _reads = [];
    private readonly List<int> _writes = [];
    private readonly List<int> _predicateReads = [];
    private readonly List<int> _predicateWrites = [];
    private readonly int _sinkSlot = builder.NewSlot();
    private readonly int _truePredicate = builder.NewPredicate();
    private readonly int _sinkPredicate = builder.NewPredicate();
    private PtxStatement _statement = null!;
    private PtxScope _scope = null!;

    public IReadOnlyDictionary<int, ulong> Constants => _constants;

    public IReadOnlyDictionary<int, SpecialRegister> SpecialRegisters => _specialSlots.ToDictionary(p => p.Value, p => p.Key);

    /// <summary>The predicate that is true in every lane; a warp sets it when it starts.</summary>
    public PredicateUse Always => new(_truePredicate, false);

    public PtxInstruction Decode(PtxStatement statement, PtxName? guard, PtxScope scope)
    {
        (_statement, _scope) = (statement, scope);
        _reads.Clear();
        _writes.Clear();
        _predicateReads.Clear();
        _predicateWrites.Clear();
        PredicateUse guardUse = guard == null ? Always : Predicate(guard);
        PtxInstruction instruction = InstructionTable.Decode(statement, this);
        instruction.Statement = statement;
        instruction.Guard = guardUse;
        instruction.IsGuarded = guard != null;
        instruction.Reads = [.. _reads.Distinct()];
        instruction.Writes = [.. _writes.Distinct()];
        instruction.PredicateReads = [.. _predicateReads.Distinct()];
        instruction.PredicateWrites = [.. _predicateWrites.Distinct()];
        return instruction;
    }

    /// <summary>The slot of a source whose literals have the given type.</summary>
    public int Source(PtxOperand operand, PtxType type)
    {
        switch (operand)
        {
            case PtxLiteral literal:
                return Constant(LiteralBits(literal, type));
            case PtxName { IsNegated: false } name:
                return NamedSource(name.Text);
            default:
                throw _statement.Unknown("a register or literal was expected");
        }
    }

    /// <summary>A source whose lanes the instruction checks itself, because it does not always read it.</summary>
    public int SourceReadSometimes(PtxOperand operand, PtxType type)
    {
        int count = _reads.Count;
        int slot = Source(operand, type);
        _reads.RemoveRange(count, _reads.Count - count);
        return slot;
    }

    /// <summary>The slot of a register the instruction writes; <c>_</c> is a slot nobody reads.</summary>
    public int Destination(PtxOperand operand)
    {
        if (operand is PtxName { Text: "_" })
            return _sinkSlot;
        PtxSymbol symbol = Symbol(operand);
        if (symbol.Kind != PtxSymbolKind.Register)
            throw _statement.Unknown("a register was expected");
        _writes.Add(symbol.Value);
        return symbol.Value;
    }

    /// <summary>The slot of a register that the instruction uses by rules of its own.</summary>
    public int Register(PtxOperand operand)
    {
        PtxSymbol symbol = Symbol(operand);
        return symbol.Kind == PtxSymbolKind.Register ? symbol.Value : throw _statement.Unknown("a register was expected");
    }

    /// <summary>The width in bytes of a register.</summary>
    public int Width(PtxOperand operand) => operand is PtxName { Text: "_" } ? 8 : Symbol(operand).Bytes;

    public PredicateUse Predicate(PtxOperand operand)
    {
        if (operand is PtxLiteral { Kind: PtxTokenKind.Integer } literal)
            return new PredicateUse(_truePredicate, literal.Bits == 0);
        PtxSymbol symbol = Symbol(operand);
        if (symbol.Kind != PtxSymbolKind.Predicate)
            throw _statement.Unknown("a predicate was expected");
        _predicateReads.Add(symbol.Value);
        return new PredicateUse(symbol.Value, ((PtxName)operand).IsNegated);
    }

    public int PredicateDestination(PtxOperand? operand)
    {
        if (operand is null or PtxName { Text: "_" })
            return _sinkPredicate;
        PtxSymbol symbol = Symbol(operand);
        if (symbol.Kind != PtxSymbolKind.Predicate)
            throw _statement.Unknown("a predicate was expected");
        _predicateWrites.Add(symbol.Value);
        return symbol.Value;
    }

    public bool IsPredicate(PtxOperand operand) =>
        operand is PtxName { Text: not "_" } name && _scope.Find(name.Text)?.Kind == PtxSymbolKind.Predicate;

    /// <summary>A memory operand.</summary>
    public AddressOperand Address(PtxOperand operand)
    {
        if (operand is not PtxAddress address)
            throw _statement.Unknown("an address was expected");
        bool is32Bit = address.Base is PtxName name && _scope.Find(name.Text) is { Kind: PtxSymbolKind.Register, Bytes: 4 };
        return new AddressOperand(Source(address.Base, PtxType.U64), address.Offset, is32Bit);
    }

    /// <summary>A literal the instruction needs when it is decoded.</summary>
    public long Immediate(PtxOperand operand) => operand is PtxLiteral { Kind: PtxTokenKind.Integer } literal
        ? (long)literal.Bits : throw _statement.Unknown("an integer literal was expected");

    /// <summary>The elements of a vector operand, or the operand itself.</summary>
    public static IReadOnlyList<PtxOperand> Elements(PtxOperand operand) => operand is PtxVector vector ? vector.Elements : [operand];

    public int Constant(ulong bits)
    {
        if (!_constantSlots.TryGetValue(bits, out int slot))
        {
            slot = builder.NewSlot();
            _constantSlots.Add(bits, slot);
            _constants.Add(slot, bits);
        }
        return slot;
    }

    /// <summary>The label a branch goes to, found once every label is known.</summary>
    public int Label(PtxOperand operand) => operand is PtxName name && _scope.FindLabel(name.Text) is int at
        ? at : throw _statement.Unknown("a label was expected");

    /// <summary>A special register that changes while the kernel runs, or null.</summary>
    public static SpecialRegister? Counter(PtxOperand operand) =>
        operand is PtxName name && Emulation.SpecialRegisters.TryParse(name.Text, out SpecialRegister register)
        && register == SpecialRegister.Clock ? register : null;

    private int NamedSource(string name)
    {
        if (name == "WARP_SZ")
            return Constant(Warp.Lanes);
        if (Emulation.SpecialRegisters.TryParse(name, out SpecialRegister register))
        {
            if (!_specialSlots.TryGetValue(register, out int special))
            {
                special = builder.NewSlot();
                _specialSlots.Add(register, special);
            }
            return special;
        }
        PtxSymbol symbol = Symbol(name);
        switch (symbol.Kind)
        {
            case PtxSymbolKind.Register:
                _reads.Add(symbol.Value);
                return symbol.Value;
            case PtxSymbolKind.Predicate:
                throw _statement.Unknown("a predicate where a register was expected");
            default:
                return Constant((ulong)symbol.Value);
        }
    }

    private PtxSymbol Symbol(PtxOperand operand) =>
        operand is PtxName name ? Symbol(name.Text) : throw _statement.Unknown("a register was expected");

    private PtxSymbol Symbol(string name) => _scope.Find(name) ?? throw _statement.Unknown($"{name} is not declared");

    private ulong LiteralBits(PtxLiteral literal, PtxType type) => (literal.Kind, type) switch
    {
        (PtxTokenKind.Integer, PtxType.F32 or PtxType.F64) => throw _statement.Unknown("an integer literal where a float was expected"),
        (PtxTokenKind.Integer, _) => literal.Bits,
        (PtxTokenKind.Single, PtxType.F32 or PtxType.B32 or PtxType.U32 or PtxType.S32) => literal.Bits,
        (PtxTokenKind.Double, PtxType.F64 or PtxType.B64) => literal.Bits,
        (PtxTokenKind.Double, PtxType.F32) => BitConverter.SingleToUInt32Bits((float)BitConverter.UInt64BitsToDouble(literal.Bits)),
        (PtxTokenKind.Single, PtxType.F64) => BitConverter.DoubleToUInt64Bits(BitConverter.UInt32BitsToSingle((uint)literal.Bits)),
        _ => throw _statement.Unknown($"a float literal where .{type.Name()} was expected"),
    };
}

/// <summary>The parts of a memory operand: a slot with the base and a constant offset.</summary>
internal readonly record struct AddressOperand(int Slot, long Offset, bool Is32Bit)
{
    public ulong Of(ReadOnlySpan<ulong> bases, int lane) => Is32Bit ? (uint)((long)bases[lane] + Offset) : bases[lane] + (ulong)Offset;
}
