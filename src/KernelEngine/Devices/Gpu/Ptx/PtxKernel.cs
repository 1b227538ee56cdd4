namespace KernelEngine;

/// <summary>A kernel as text that the driver and the assembler take.</summary>
/// <param name="EntryName">The entry function's name, which profilers show.</param>
/// <param name="Text">The PTX.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="DynamicSharedBytes">Shared memory of a group that the launch asks for.</param>
internal sealed record PtxKernel(string EntryName, string Text, int Threads, int DynamicSharedBytes);
