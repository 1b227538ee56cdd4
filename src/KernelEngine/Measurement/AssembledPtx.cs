namespace KernelEngine;

/// <summary>What NVIDIA's assembler made of one entry.</summary>
/// <param name="Registers">32-bit registers a thread.</param>
/// <param name="StackBytes">Local memory of a thread that holds arrays and variables whose address is taken.</param>
/// <param name="SpillStoreBytes">Bytes a thread stores because registers ran out.</param>
/// <param name="SpillLoadBytes">Bytes a thread loads back.</param>
/// <param name="SharedBytes">Static shared memory of a group.</param>
/// <param name="Instructions">How often each machine instruction stands in the code, by its name with all modifiers.</param>
public sealed record AssembledPtx(
    int Registers, int StackBytes, int SpillStoreBytes, int SpillLoadBytes, int SharedBytes, IReadOnlyDictionary<string, int> Instructions)
{
    /// <summary>What the assembler says costs speed, as products that wait for each other; null where it says nothing.</summary>
    public string? Warning { get; init; }

    /// <summary>True when every variable of a thread is in a register.</summary>
    public bool IsInRegisters => StackBytes == 0 && SpillStoreBytes == 0 && SpillLoadBytes == 0;

    /// <summary>How often an instruction stands in the code, whatever follows in its name: <c>HMMA.16816</c>, <c>LDG.E.128</c>.</summary>
    public int Count(string name) =>
        Instructions.Where(i => i.Key == name || i.Key.StartsWith(name + ".", StringComparison.Ordinal)).Sum(i => i.Value);
}
