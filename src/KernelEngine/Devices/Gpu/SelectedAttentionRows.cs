using ILGPU;

namespace KernelEngine;

/// <summary>
/// Launches the choice of keys and then attention over them: <see cref="SparseSelectKeys"/>, <see cref="SparseAttentionForwardRows"/>.
/// Workspace: all lists, and that of the choice.
/// </summary>
internal sealed class SelectedAttentionRows() : GpuKernel<SelectedAttentionProblem>("sparse-attention-selected/ilgpu")
{
    private readonly SparseSelectKeys _select = new();
    private readonly SparseAttentionForwardRows _attend = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _select.Entries, .. _attend.Entries];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in SelectedAttentionProblem problem) => _select.WhyUnsupported(problem.Selection);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SelectedAttentionProblem problem, GpuDevice device) =>
        Plan(problem).Bytes + _select.GetWorkspaceBytes(problem.Selection, device);

    /// <inheritdoc/>
    public override void Launch(
        in SelectedAttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        (long countsAt, long bytes) = Plan(problem);
        GpuView columns = View(problem.Selection.GetOperand(SparseSelectProblem.Columns), workspace, 0);
        GpuView counts = View(problem.Selection.GetOperand(SparseSelectProblem.Counts), workspace, countsAt);
        _select.Launch(
            problem.Selection,
            [
                operands[SelectedAttentionProblem.QueryCodes], operands[SelectedAttentionProblem.KeyCodes], operands[SelectedAttentionProblem.KvLengths],
                columns, counts,
            ], workspace.SubView(bytes, workspace.Length - bytes), device);
        _attend.Launch(
            problem.Attention,
            [
                operands[SelectedAttentionProblem.Query], operands[SelectedAttentionProblem.Key], operands[SelectedAttentionProblem.Value],
                columns, counts, operands[SelectedAttentionProblem.Output], operands[SelectedAttentionProblem.Lse],
            ], default, device);
    }

    private static GpuView View(Operand operand, ArrayView<byte> workspace, long begin) =>
        new(workspace.SubView(begin, Math.Max(4, operand.Shape.Count * operand.Type.SizeInBytes())), begin, operand.Type, operand.Shape);

    // Where the counts begin, behind the columns, and the bytes of both.
    private static (long Counts, long Bytes) Plan(in SelectedAttentionProblem problem)
    {
        Operand columns = problem.Selection.GetOperand(SparseSelectProblem.Columns), counts = problem.Selection.GetOperand(SparseSelectProblem.Counts);
        var layout = new WorkspaceLayout();
        layout.Add(checked(columns.Shape.Count * columns.Type.SizeInBytes() + 3) / 4);
        long begin = layout.Add(counts.Shape.Count);
        return (begin, layout.Bytes);
    }
}
