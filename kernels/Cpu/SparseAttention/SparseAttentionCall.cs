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
    public int* ColumnsOf(int batch, int head, int row) => (int*)_columns.Address(batch, head / Problem.HeadsPerIndex, row);
}
