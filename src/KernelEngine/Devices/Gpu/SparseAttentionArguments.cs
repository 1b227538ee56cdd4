using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>What the launchers of attention over lists fill in alike.</summary>
internal static class SparseAttentionArguments
{
    private const float Log2E = 1.44269504f;

    /// <summary>The tensors of the forward pass.</summary>
    public static ListedAttention.Tensors CreateTensors(in SparseAttentionProblem problem, ReadOnlySpan<GpuView> operands)
    {
        GpuView columns = operands[SparseAttentionProblem.Columns], counts = operands[SparseAttentionProblem.Counts];
        GpuView lse = operands[SparseAttentionProblem.Lse];
        return new ListedAttention.Tensors
        {
            Query = AsTyped(operands[SparseAttentionProblem.Query]),
            Key = AsTyped(operands[SparseAttentionProblem.Key]),
            Value = AsTyped(operands[SparseAttentionProblem.Value]),
            Output = AsTyped(operands[SparseAttentionProblem.Output]),
            Lists = new ColumnListView
            {
                Columns = columns.As<int>(),
                Counts = counts.As<int>(),
                BatchStride = columns.Layout.Stride(0),
                HeadStride = columns.Layout.Stride(1),
                RowStride = columns.Layout.Stride(2),
                CountBatchStride = counts.Layout.Stride(0),
                CountHeadStride = counts.Layout.Stride(1),
                CountRowStride = counts.Layout.Stride(2),
            },
            Lse = (lse.IsPresent ? lse : operands[SparseAttentionProblem.Query]).As<float>(), // never read or written when absent
            LseBatchStride = lse.IsPresent ? lse.Layout.Stride(0) : 0,
            LseHeadStride = lse.IsPresent ? lse.Layout.Stride(1) : 0,
            LseRowStride = lse.IsPresent ? lse.Layout.Stride(2) : 0,
            NumHeads = problem.NumHeads,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
            GroupSize = problem.NumHeads == 0 ? 1 : problem.GroupSize,
            HeadsPerIndex = problem.NumHeads == 0 ? 1 : problem.HeadsPerIndex,
            ScaleLog2 = problem.Scale * Log2E,
            CapLog2 = problem.LogitSoftCap * Log2E,
        };
    }

    /// <summary>An operand [batchSize, tokens, heads, dim] as the kernels see it.</summary>
    public static TypedTensor AsTyped(in GpuView view) => new()
    {
        Data = view.Data,
        BatchStride = view.Layout.Stride(0),
        TokenStride = view.Layout.Stride(1),
        HeadStride = view.Layout.Stride(2),
        HasQuads = view.HasQuads ? 1 : 0,
        Type = (int)view.Type,
    };
}
