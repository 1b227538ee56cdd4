namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>The names declared between a pair of braces; inner scopes see outer ones.</summary>
internal sealed class PtxScope(PtxScope? parent)
{
    private readonly Dictionary<string, PtxSymbol> _symbols = [];
    private readonly Dictionary<string, int> _labels = [];

    public bool TryDeclare(string name, PtxSymbol symbol) => _symbols.TryAdd(name, symbol);

    public bool TryLabel(string name, int instruction) => _labels.TryAdd(name, instruction);

    public PtxSymbol? Find(string name) => _symbols.TryGetValue(name, out PtxSymbol symbol) ? symbol : parent?.Find(name);

    public int? FindLabel(string name) => _labels.TryGetValue(name, out int at) ? at : parent?.FindLabel(name);
}

/// <summary>What a name stands for.</summary>
internal enum PtxSymbolKind
{
    Register,
    Predicate,
    SharedAddress,
    LocalAddress,
    ParameterOffset,
}

/// <summary>A register's slot and width in bytes, or a variable's address within its state space.</summary>
internal readonly record struct PtxSymbol(PtxSymbolKind Kind, int Value, int Bytes);
