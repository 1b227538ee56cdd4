using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>What the launchers of sparse attention fill in alike.</summary>
internal static class SparseAttentionArguments
{
    private const float Log2E = 1.44269504f;

    /// <summary>The tensors of the forward pass.</summary>
    public static ListedAttention.Tensors CreateTensors(in SparseAttentionProblem problem, ReadOnlySpan<GpuView> operands)
    {
        GpuView lse = operands[SparseAttentionProblem.Lse];
        return new ListedAttention.Tensors
        {
            Query = AttentionArguments.Typed(operands[SparseAttentionProblem.Query]),
            Key = AttentionArguments.Typed(operands[SparseAttentionProblem.Key]),
            Value = AttentionArguments.Typed(operands[SparseAttentionProblem.Value]),
            Output = AttentionArguments.Typed(operands[SparseAttentionProblem.Output]),
            Lists = CreateLists(operands[SparseAttentionProblem.Columns], operands[SparseAttentionProblem.Counts]),
            Lse = AttentionArguments.Or(lse, operands[SparseAttentionProblem.Query]).As<float>(), // never read or written when absent
            LseBatchStride = lse.IsPresent ? lse.Layout.Stride(0) : 0,
            LseHeadStride = lse.IsPresent ? lse.Layout.Stride(1) : 0,
            LseRowStride = lse.IsPresent ? lse.Layout.Stride(2) : 0,
            NumHeads = problem.NumHeads,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
            GroupSize = problem.GroupSize,
            HeadsPerIndex = problem.HeadsPerIndex,
            ScaleLog2 = problem.Scale * Log2E,
            CapLog2 = problem.LogitSoftCap * Log2E,
        };
    }

    /// <summary>The lists of keys, to read or to write.</summary>
    public static ColumnListView CreateLists(GpuView columns, GpuView counts) => new()
    {
        Columns = columns.As<int>(),
        NarrowColumns = columns.As<ushort>(),
        AreNarrow = columns.Type == DataType.UInt16 ? 1 : 0,
        Counts = counts.As<int>(),
        BatchStride = columns.Layout.Stride(0),
        HeadStride = columns.Layout.Stride(1),
        RowStride = columns.Layout.Stride(2),
        CountBatchStride = counts.Layout.Stride(0),
        CountHeadStride = counts.Layout.Stride(1),
        CountRowStride = counts.Layout.Stride(2),
    };
}
