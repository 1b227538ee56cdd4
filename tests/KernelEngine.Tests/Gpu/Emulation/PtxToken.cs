namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>What a token of PTX text is.</summary>
internal enum PtxTokenKind
{
    /// <summary>A name, an opcode with its modifiers, a directive, or a register.</summary>
    Word,

    /// <summary>An integer literal, sign not included.</summary>
    Integer,

    /// <summary>The bits of a float32 written <c>0f........</c>.</summary>
    Single,

    /// <summary>The bits of a float64, written <c>0d................</c> or in decimal.</summary>
    Double,

    /// <summary>A quoted string.</summary>
    Text,

    /// <summary>One character of punctuation.</summary>
    Mark,
}

/// <summary>One token, its value if it is a literal, and the line it stands on (from 1).</summary>
internal readonly record struct PtxToken(PtxTokenKind Kind, string Text, ulong Bits, int Line)
{
    public bool IsMark(char mark) => Kind == PtxTokenKind.Mark && Text[0] == mark;
}
