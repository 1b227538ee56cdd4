namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>An operand as it is written.</summary>
internal abstract record PtxOperand;

/// <summary>A register, symbol, label or special register; <c>!p</c> for a predicate.</summary>
internal sealed record PtxName(string Text, bool IsNegated) : PtxOperand;

/// <summary>A literal with the kind of its token; integers carry their sign in two's complement.</summary>
internal sealed record PtxLiteral(PtxTokenKind Kind, ulong Bits) : PtxOperand;

/// <summary><c>{a, b}</c></summary>
internal sealed record PtxVector(IReadOnlyList<PtxOperand> Elements) : PtxOperand;

/// <summary><c>d|p</c></summary>
internal sealed record PtxPair(PtxOperand First, PtxOperand Second) : PtxOperand;

/// <summary><c>[base + offset]</c>, for tensor copies with coordinates: <c>[map, {x, y}]</c>.</summary>
internal sealed record PtxAddress(PtxOperand Base, long Offset, PtxVector? Coordinates) : PtxOperand;
