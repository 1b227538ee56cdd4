namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>How the sequences of the kernels on mma lie: known when they are compiled, so that equal ones cost no register.</summary>
internal interface ISequences
{
    /// <summary>0 for a batch of sequences of one length, 1 for sequences that lie end to end and that offsets tell apart.</summary>
    static abstract int AreRagged { get; }
}

/// <summary>A batch of sequences of one length.</summary>
internal readonly struct EqualSequences : ISequences
{
    public static int AreRagged => 0;
}

/// <summary>Sequences of any lengths, end to end.</summary>
internal readonly struct RaggedSequences : ISequences
{
    public static int AreRagged => 1;
}
