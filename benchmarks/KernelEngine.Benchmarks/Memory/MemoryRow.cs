namespace KernelEngine.Benchmarks.Memory;

/// <summary>What one call of one implementation added to the resident size.</summary>
/// <param name="Problem">Operation and problem.</param>
/// <param name="Name">The implementation.</param>
/// <param name="Growth">Bytes, or null when it could not run.</param>
/// <param name="ResultBytes">Bytes of results that the call itself allocated.</param>
/// <param name="UnfusedBytes">Bytes of the f32 matrix that is not stored: the scores of one head, or all logits.</param>
/// <param name="Note">How it was expressed, or why it did not run.</param>
internal sealed record MemoryRow(string Problem, string Name, long? Growth, long? ResultBytes, long? UnfusedBytes, string Note)
{
    /// <summary>Bytes of scratch memory.</summary>
    public long? Beyond => Growth - ResultBytes;
}
