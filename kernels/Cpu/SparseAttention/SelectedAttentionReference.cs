using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Lists by their definition (<see cref="SparseSelectReference"/>), then attention over them by its own
/// (<see cref="SparseAttentionReference{T}"/>). Workspace: all lists, and that of the two.
/// </summary>
public sealed unsafe class SelectedAttentionReference<T>(string name, DeviceKinds device) : CpuKernel<SelectedAttentionProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    private readonly SparseSelectReference _select = new(name, device);
    private readonly SparseAttentionReference<T> _attend = new(name, device);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SelectedAttentionProblem problem, int threads)
    {
        (Operand columns, Operand counts) = Lists(problem);
        return checked(Bytes(columns) + Bytes(counts)
            + Math.Max(_select.GetWorkspaceBytes(problem.Selection, threads), _attend.GetWorkspaceBytes(problem.Attention, threads)));
    }

    /// <inheritdoc/>
    public override void Run(in SelectedAttentionProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        (Operand columns, Operand counts) = Lists(problem);
        byte* memory = (byte*)workspace, rest = memory + Bytes(columns) + Bytes(counts);
        var columnView = new RawView(memory, columns.Type, columns.Shape);
        var countView = new RawView(memory + Bytes(columns), counts.Type, counts.Shape);
        _select.Run(
            problem.Selection,
            [
                operands[SelectedAttentionProblem.QueryCodes], operands[SelectedAttentionProblem.KeyCodes], operands[SelectedAttentionProblem.KvLengths],
                columnView, countView,
            ], rest, workers);
        _attend.Run(
            problem.Attention,
            [
                operands[SelectedAttentionProblem.Query], operands[SelectedAttentionProblem.Key], operands[SelectedAttentionProblem.Value],
                columnView, countView, operands[SelectedAttentionProblem.Output], operands[SelectedAttentionProblem.Lse],
            ], rest, workers);
    }

    private static (Operand Columns, Operand Counts) Lists(in SelectedAttentionProblem problem) =>
        (problem.Selection.GetOperand(SparseSelectProblem.Columns), problem.Selection.GetOperand(SparseSelectProblem.Counts));

    private static long Bytes(Operand operand) => checked(operand.Shape.Count * operand.Type.SizeInBytes() + 63) / 64 * 64;
}
