namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>How an instruction moves a warp on.</summary>
internal enum PtxFlow
{
    /// <summary>To the next instruction.</summary>
    Next,

    /// <summary>To its target.</summary>
    Branch,

    /// <summary>Nowhere: the lanes are done.</summary>
    Exit,

    /// <summary>To the next instruction, but lanes that did not get what they poll for let others go first.</summary>
    Poll,
}

/// <summary>One decoded instruction, executed for the lanes of a mask at once.</summary>
internal abstract class PtxInstruction
{
    /// <summary>The instruction as it is written.</summary>
    public PtxStatement Statement { get; set; } = null!;

    /// <summary>The predicate that guards it; always true if it has none.</summary>
    public PredicateUse Guard { get; set; }

    public bool IsGuarded { get; set; }

    /// <summary>Slots whose lanes must have been written.</summary>
    public int[] Reads { get; set; } = [];

    /// <summary>Slots it writes.</summary>
    public int[] Writes { get; set; } = [];

    public int[] PredicateReads { get; set; } = [];

    public int[] PredicateWrites { get; set; } = [];

    /// <summary>The bytes of the elements it moves one by one from or to what may be shared memory; 4 if it moves none, or larger ones.</summary>
    public virtual int SharedElementBytes => 4;

    public virtual PtxFlow Flow => PtxFlow.Next;

    /// <summary>True when lanes may only execute it together with others, named by <see cref="Together"/>.</summary>
    public virtual bool IsCollective => false;

    /// <summary>The lanes that must be here before any of them goes on.</summary>
    public virtual uint Together(Warp warp, uint mask) => warp.Present;

    public abstract void Execute(Warp warp, uint mask);
}

/// <summary>A predicate register, or its negation, as a source.</summary>
internal readonly record struct PredicateUse(int Index, bool IsNegated)
{
    /// <summary>The lanes in which it is true.</summary>
    public uint Lanes(Warp warp) => IsNegated ? ~warp.Predicates[Index] : warp.Predicates[Index];
}
