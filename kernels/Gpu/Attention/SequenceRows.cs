namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// One sequence as one key/value head sees it, and a group's first row in it. Rows are packed: row r stands for query
/// r / groupSize and head r mod groupSize of the key/value head.
/// </summary>
internal struct SequenceRows
{
    public int Index, Batch, KvHead;
    public int QueryStart, QueryLength, KeyStart, KvLength;
    public int FirstRow, RowCount; // RowCount: all of the sequence's; 0 when the group has none
}
