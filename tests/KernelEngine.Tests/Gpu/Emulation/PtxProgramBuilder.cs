namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Collects declarations and instructions while the text is read; instructions are decoded when all of it is known.</summary>
internal sealed class PtxProgramBuilder
{
    private readonly List<(PtxStatement Statement, PtxName? Guard, PtxScope Scope)> _statements = [];
    private readonly PtxScope _module = new(null);
    private readonly Stack<PtxScope> _scopes = [];
    private readonly List<(string Name, int Alignment)> _dynamicShared = [];
    private readonly Dictionary<int, string> _registerNames = [];
    private string? _name;
    private int _parameterBytes;
    private int _sharedBytes;
    private int _localBytes;
    private int _maxThreads = 1024;
    private bool _isThreadCountExact;

    public PtxProgramBuilder() => _scopes.Push(_module);

    /// <summary>Slots of the register file so far.</summary>
    public int SlotCount { get; private set; }

    public int PredicateCount { get; private set; }

    public int NewSlot() => SlotCount++;

    public int NewPredicate() => PredicateCount++;

    public void StartEntry(string name, int line)
    {
        if (_name != null)
            throw new PtxSyntaxException(line, name, "a second entry");
        _name = name;
        OpenScope();
    }

    public void LimitThreads(int threads, bool isExact)
    {
        _maxThreads = Math.Min(_maxThreads, threads);
        _isThreadCountExact |= isExact;
    }

    public void OpenScope() => _scopes.Push(new PtxScope(_scopes.Peek()));

    public void CloseScope() => _scopes.Pop();

    public void AddParameter(string name, int bytes, int alignment, int line)
    {
        int offset = AlignUp(_parameterBytes, alignment);
        _parameterBytes = offset + bytes;
        Declare(name, new PtxSymbol(PtxSymbolKind.ParameterOffset, offset, bytes), line);
    }

    public void DeclareRegister(string name, PtxType type, int line)
    {
        PtxSymbol symbol = type == PtxType.Pred
            ? new PtxSymbol(PtxSymbolKind.Predicate, NewPredicate(), 0)
            : new PtxSymbol(PtxSymbolKind.Register, NewSlot(), type.Bytes());
        Declare(name, symbol, line);
        if (symbol.Kind == PtxSymbolKind.Register)
            _registerNames[symbol.Value] = name;
    }

    public void DeclareVariable(string space, string name, int bytes, int alignment, int line)
    {
        switch (space)
        {
            case ".extern":
                _dynamicShared.Add((name, alignment));
                break;
            case ".shared":
                int shared = AlignUp(_sharedBytes, alignment);
                _sharedBytes = shared + bytes;
                Declare(name, new PtxSymbol(PtxSymbolKind.SharedAddress, SharedMemory.Base + shared, bytes), line);
                break;
            default:
                int local = AlignUp(_localBytes, alignment);
                _localBytes = local + bytes;
                Declare(name, new PtxSymbol(PtxSymbolKind.LocalAddress, local, bytes), line);
                break;
        }
    }

    public void AddLabel(string name, int line)
    {
        if (!_scopes.Peek().TryLabel(name, _statements.Count))
            throw new PtxSyntaxException(line, name, "a label that stands twice in its scope");
    }

    public void AddInstruction(PtxStatement statement, PtxName? guard) => _statements.Add((statement, guard, _scopes.Peek()));

    public PtxProgram Build()
    {
        if (_name == null)
            throw new PtxSyntaxException(1, "", "no entry");
        int alignment = _dynamicShared.Count == 0 ? 16 : Math.Max(16, _dynamicShared.Max(d => d.Alignment));
        int dynamicOffset = AlignUp(_sharedBytes, alignment);
        foreach ((string name, _) in _dynamicShared)
            Declare(name, new PtxSymbol(PtxSymbolKind.SharedAddress, SharedMemory.Base + dynamicOffset, 0), 1, _module);

        var binder = new OperandBinder(this);
        var instructions = new PtxInstruction[_statements.Count];
        for (int i = 0; i < instructions.Length; i++)
        {
            (PtxStatement statement, PtxName? guard, PtxScope scope) = _statements[i];
            instructions[i] = binder.Decode(statement, guard, scope);
        }
        return new PtxProgram
        {
            Name = _name,
            Instructions = instructions,
            SlotCount = SlotCount,
            PredicateCount = PredicateCount,
            TruePredicate = binder.Always.Index,
            RegisterNames = _registerNames,
            Constants = binder.Constants,
            SpecialRegisters = binder.SpecialRegisters,
            ParameterBytes = _parameterBytes,
            StaticSharedBytes = _sharedBytes,
            DynamicSharedOffset = dynamicOffset,
            HasDynamicShared = _dynamicShared.Count > 0,
            LocalBytes = _localBytes,
            MaxThreads = _maxThreads,
            IsThreadCountExact = _isThreadCountExact,
        };
    }

    private void Declare(string name, PtxSymbol symbol, int line, PtxScope? scope = null)
    {
        if (!(scope ?? _scopes.Peek()).TryDeclare(name, symbol))
            throw new PtxSyntaxException(line, name, "declared twice in its scope");
    }

    private static int AlignUp(int value, int alignment) => (value + alignment - 1) / alignment * alignment;
}
