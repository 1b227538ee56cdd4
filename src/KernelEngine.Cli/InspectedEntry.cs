namespace KernelEngine.Cli;

/// <summary>One instance of device code.</summary>
/// <param name="Target">The architecture it is written for; null for portable code.</param>
/// <param name="PtxLength">Characters of its PTX.</param>
/// <param name="Assembled">Null where NVIDIA's tools are absent.</param>
internal sealed record InspectedEntry(
    string Name, string? Target, int Threads, int StaticSharedBytes, int DynamicSharedBytes, int PtxLength, InspectedAssembly? Assembled);
