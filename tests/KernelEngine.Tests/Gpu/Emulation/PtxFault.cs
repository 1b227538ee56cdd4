namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// A kernel did what hardware would punish or what PTX leaves undefined: an access out of bounds or out of alignment, a register read
/// before it is written, a barrier nobody completes.
/// </summary>
internal sealed class PtxFault(string message) : Exception(message)
{
    /// <summary>The line of the PTX text, from 1; 0 when the fault has no single place.</summary>
    public int Line { get; init; }

    /// <summary>The thread within its block, or -1.</summary>
    public int Thread { get; init; } = -1;

    /// <summary>The address accessed, if an access is at fault.</summary>
    public ulong Address { get; init; }
}
