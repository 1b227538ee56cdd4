namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The units of a block, cut into chunks of about the same size whose packed weights fit the caches: at most 1024 units, and fewer where
/// rows are longer than 2048.
/// </summary>
internal readonly struct UnitChunks
{
    private const int MostUnits = 1024;
    private const int FewestUnits = 64;
    private const int WeightFloats = 1 << 21;

    /// <summary>Units of every chunk but the last, which may have fewer.</summary>
    public readonly int Size;

    public UnitChunks(in FeedForwardProblem problem)
    {
        int most = Math.Clamp(WeightFloats / Math.Max(1, problem.HiddenSize) / FewestUnits * FewestUnits, FewestUnits, MostUnits);
        int chunks = Math.Max(1, (problem.UnitsOfBlock + most - 1) / most), size = (problem.UnitsOfBlock + chunks - 1) / chunks;
        // Whole panels, but for blocks smaller than one.
        Size = size <= FewestUnits ? Math.Max(1, size) : Math.Min((size + FewestUnits - 1) / FewestUnits * FewestUnits, problem.UnitsOfBlock);
    }
}
