using System.Numerics;
using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;

namespace KernelEngine;

/// <summary>Launches <see cref="SelectSlots"/>. Workspace: 12 bytes for each cell.</summary>
internal sealed class KvCacheSelectCells() : GpuKernel<KvCacheSelectProblem>("kv-cache-select/ilgpu")
{
    private readonly GpuEntry<SelectSlots.Parameters> _search = CreateSearch();
    private readonly GpuEntry<SelectSlots.Parameters> _write = new(
        SelectSlots.WriteKept, SelectSlots.Threads, SelectSlots.WriteSharedBytes, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_search, _write];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in KvCacheSelectProblem problem) =>
        problem.IsPooled && (long)problem.Cells * problem.Slots > int.MaxValue
            ? $"counts at most {int.MaxValue} slots that share a budget" : null;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheSelectProblem problem, GpuDevice device) =>
        (long)SelectSlots.Words * sizeof(int) * problem.Cells;

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheSelectProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Cells == 0)
            return;
        var parameters = new SelectSlots.Parameters
        {
            Scores = operands[KvCacheSelectProblem.Scores].AsMatrix<float>(),
            Kept = operands[KvCacheSelectProblem.Kept].AsMatrix<int>(),
            Lengths = operands[KvCacheSelectProblem.Lengths].As<int>(),
            Budgets = operands[KvCacheSelectProblem.Budgets].As<int>(),
            KeptCounts = operands[KvCacheSelectProblem.KeptCounts].As<int>(),
            LastKept = workspace.Cast<int>(),
            Cells = problem.Cells,
            Slots = problem.Slots,
            CellsOfUnit = problem.IsPooled ? problem.Cells : 1,
            SlotDigits = Digits(problem.Slots),
            CellDigits = problem.IsPooled ? Digits(problem.Cells) : 0,
        };
        device.Launch(_search, problem.IsPooled ? 1 : problem.Cells, parameters);
        device.Launch(_write, problem.Cells, parameters);
    }

    /// <summary>The code that finds the last slot kept.</summary>
    public static GpuEntry<SelectSlots.Parameters> CreateSearch() =>
        new(SelectSlots.FindLastKept, SelectSlots.Threads, SelectSlots.SearchSharedBytes, hasQuadLoads: false);

    // Digits of eight bits of the numbers below a bound.
    private static int Digits(int bound) => (BitOperations.Log2((uint)bound | 1u) + 8) / 8;
}
