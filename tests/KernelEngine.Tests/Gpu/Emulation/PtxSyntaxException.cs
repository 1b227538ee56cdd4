namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>PTX text that is wrong, or that the emulator does not know.</summary>
internal sealed class PtxSyntaxException(int line, string text, string reason)
    : Exception($"PTX line {line}: {reason}: {text}")
{
    /// <summary>The line in the text, from 1.</summary>
    public int Line { get; } = line;
}
