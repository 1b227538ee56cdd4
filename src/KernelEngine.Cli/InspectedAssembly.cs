namespace KernelEngine.Cli;

/// <summary>What NVIDIA's assembler made of one instance of device code.</summary>
/// <param name="SpillBytes">Bytes that a thread stores and loads because registers ran out.</param>
/// <param name="Instructions">How often each of <see cref="InspectResult.CountedInstructions"/> stands in the code.</param>
internal sealed record InspectedAssembly(
    string Architecture, int Registers, int SpillBytes, int StackBytes, IReadOnlyDictionary<string, int> Instructions, Occupancy Occupancy);
