namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>One sequence of a batch as one key/value head sees it.</summary>
/// <param name="Index">Its number.</param>
/// <param name="Batch">Its index in the first dimension of query, key and value; 0 for all ragged ones.</param>
/// <param name="QueryStart">Its first query row.</param>
/// <param name="QueryLength">Its query rows.</param>
/// <param name="KeyStart">Its first key.</param>
/// <param name="KvLength">Its keys.</param>
internal readonly record struct AttentionSequence(int Index, int Batch, int QueryStart, int QueryLength, int KeyStart, int KvLength);
