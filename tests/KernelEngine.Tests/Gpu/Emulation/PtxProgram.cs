namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>One kernel, decoded: its instructions, and the sizes a launch of it needs.</summary>
internal sealed class PtxProgram
{
    /// <summary>The name of the entry.</summary>
    public required string Name { get; init; }

    public required PtxInstruction[] Instructions { get; init; }

    /// <summary>Slots of a warp's register file: declared registers, then constants and special registers.</summary>
    public required int SlotCount { get; init; }

    public required int PredicateCount { get; init; }

    /// <summary>The predicate register that is true in every lane.</summary>
    public required int TruePredicate { get; init; }

    public required IReadOnlyDictionary<int, string> RegisterNames { get; init; }

    /// <summary>Slots with the same value in all lanes, for the whole launch.</summary>
    public required IReadOnlyDictionary<int, ulong> Constants { get; init; }

    /// <summary>Special registers a warp must fill before it starts.</summary>
    public required IReadOnlyDictionary<int, SpecialRegister> SpecialRegisters { get; init; }

    /// <summary>Bytes of the parameter block.</summary>
    public required int ParameterBytes { get; init; }

    /// <summary>Bytes of statically declared shared memory.</summary>
    public required int StaticSharedBytes { get; init; }

    /// <summary>Where dynamic shared memory starts: behind the static part, aligned as declared.</summary>
    public required int DynamicSharedOffset { get; init; }

    /// <summary>True when the kernel declares dynamic shared memory.</summary>
    public required bool HasDynamicShared { get; init; }

    /// <summary>Bytes of local memory of a thread.</summary>
    public required int LocalBytes { get; init; }

    /// <summary>The largest block the kernel allows, and the only one if <see cref="IsThreadCountExact"/>.</summary>
    public required int MaxThreads { get; init; }

    public required bool IsThreadCountExact { get; init; }

    /// <summary>The bytes of the smallest element that is moved from or to shared memory, at most 4.</summary>
    public int SmallestSharedAccess => field == 0 ? field = Instructions.Min(instruction => instruction.SharedElementBytes) : field;

    /// <summary>Reads a module with one entry; throws <see cref="PtxSyntaxException"/> on what is wrong or not known.</summary>
    public static PtxProgram Parse(string text) => new PtxParser(text).Parse();

    /// <summary>The name of the register in a slot, for messages.</summary>
    public string RegisterName(int slot) => RegisterNames.GetValueOrDefault(slot, "?");
}
