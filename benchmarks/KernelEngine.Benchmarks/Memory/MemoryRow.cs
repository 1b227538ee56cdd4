namespace KernelEngine.Benchmarks.Memory;

/// <summary>What one call of one implementation added to the resident size.</summary>
/// <param name="Problem">Operation and problem.</param>
/// <param name="Name">The implementation.</param>
/// <param name="Growth">Bytes, or null when it could not run.</param>
/// <param name="ResultBytes">Bytes of results that the call itself allocated.</param>
/// <param name="ScoreBytes">Bytes of the f32 scores of one head, query rows times keys.</param>
/// <param name="Note">How it was expressed, or why it did not run.</param>
internal sealed record MemoryRow(string Problem, string Name, long? Growth, long ResultBytes, long ScoreBytes, string Note);
