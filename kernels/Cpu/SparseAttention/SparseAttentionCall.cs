using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>The rows and lists of one call of sparse attention.</summary>
internal readonly unsafe struct SparseAttentionCall(in SparseAttentionProblem problem, ReadOnlySpan<RawView> operands)
{
    public readonly SparseAttentionProblem Problem = problem;
    public readonly RawView Query = operands[SparseAttentionProblem.Query], Key = operands[SparseAttentionProblem.Key];
    public readonly RawView Value = operands[SparseAttentionProblem.Value], Output = operands[SparseAttentionProblem.Output];
    public readonly RawView Lse = operands[SparseAttentionProblem.Lse];
    private readonly RawView _columns = operands[SparseAttentionProblem.Columns], _counts = operands[SparseAttentionProblem.Counts];

    public byte* QueryRow(int batch, int head, int row) => Query.Address(batch, row, head);

    public byte* KeyRow(int batch, int kvHead, int key) => Key.Address(batch, key, kvHead);

    public byte* ValueRow(int batch, int kvHead, int key) => Value.Address(batch, key, kvHead);

    public byte* OutputRow(int batch, int head, int row) => Output.Address(batch, row, head);

    public float* LseOf(int batch, int head, int row) => (float*)Lse.Address(batch, head, row);

    /// <summary>How many keys a row of a query head lists.</summary>
    public int CountOf(int batch, int head, int row) => _counts.ReadInt32(batch, head / Problem.HeadsPerIndex, row);

    /// <summary>Those keys, ascending.</summary>
    public ListedRow<TIndex> ListOf<TIndex>(int batch, int head, int row) where TIndex : unmanaged => new()
    {
        Columns = (TIndex*)_columns.Address(batch, head / Problem.HeadsPerIndex, row),
        Count = CountOf(batch, head, row),
    };

    /// <summary>Whether a row lists a key.</summary>
    public bool Lists(int batch, int head, int row, int key) => Problem.ColumnType == DataType.UInt16
        ? ListOf<ushort>(batch, head, row).Span.BinarySearch((ushort)key) >= 0
        : ListOf<int>(batch, head, row).Span.BinarySearch(key) >= 0;

    /// <summary>One of those keys.</summary>
    public int ColumnOf(int batch, int head, int row, int place) => (int)(Problem.ColumnType == DataType.UInt16
        ? ListOf<ushort>(batch, head, row)[place]
        : ListOf<int>(batch, head, row)[place]);
}
