using System.Numerics;
using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.KvCache;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="SelectiveDecode"/>, with the search of <see cref="SelectSlots"/> and the totals of
/// <see cref="ExpectAttention"/> over each head's scores. Workspace: a float for each head and slot, seven words a head.
/// </summary>
internal sealed class AttentionDecodeSelectiveSlots() : GpuKernel<AttentionDecodeSelectiveProblem>("attention-decode-selective/ilgpu")
{
    private const float Log2E = 1.44269504f;

    private readonly Instance[] _instances =
    [
        new Instance<float, Float32Storage>(), new Instance<ushort, Float16Storage>(), new Instance<ushort, BFloat16Storage>(),
        new Instance<sbyte, Int8Storage>(),
    ];

    private readonly GpuEntry<SelectSlots.Parameters> _search = KvCacheSelectCells.CreateSearch();
    private readonly GpuEntry<ExpectAttention.SoftmaxParameters> _totals = KvCacheExpectSlots.CreateTotals();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _instances.SelectMany(i => i.Entries), _search, _totals];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeSelectiveProblem problem, GpuDevice device) => new Workspace(problem).Bytes;

    /// <inheritdoc/>
    public override void Launch(
        in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Cells == 0)
            return;
        var places = new Workspace(problem);
        Instance instance = _instances[problem.Type == DataType.Int8 ? 3 : (int)problem.Type];
        // Without room for a slot there is no group that would write the lengths of the heads, and nothing to search.
        if (problem.Slots > 0)
        {
            instance.Score(problem, operands, workspace, places, device);
            ArrayView<int> lengths = workspace.SubView(places.Lengths).Cast<int>();
            ArrayView<float> scores = workspace.SubView(places.Scores).Cast<float>();
            device.Launch(_search, problem.NumHeads, new SelectSlots.Parameters
            {
                Scores = new MatrixView<float> { Data = scores, RowStride = problem.Slots },
                Kept = new MatrixView<int> { Data = lengths },
                Lengths = lengths,
                Budgets = workspace.SubView(places.Budgets).Cast<int>(),
                KeptCounts = lengths,
                LastKept = workspace.SubView(places.LastKept).Cast<int>(),
                Cells = problem.NumHeads,
                Slots = problem.Slots,
                CellsOfUnit = 1,
                SlotDigits = (BitOperations.Log2((uint)problem.Slots) + 8) / 8,
            });
            device.Launch(_totals, problem.NumHeads, new ExpectAttention.SoftmaxParameters
            {
                Scores = new MatrixView<float> { Data = scores },
                Lengths = lengths,
                Exponents = scores,
                Totals = workspace.SubView(places.Totals).Cast<float>(),
                Slots = problem.Slots,
                GroupSize = 1,
            });
        }
        instance.Sum(problem, operands, workspace, places, device);
    }

    // Where arrays begin in the workspace.
    private readonly struct Workspace
    {
        public readonly long Scores, Lengths, Budgets, LastKept, Totals, Bytes;

        public Workspace(in AttentionDecodeSelectiveProblem problem)
        {
            var layout = new WorkspaceLayout();
            Scores = layout.Add((long)problem.NumHeads * problem.Slots);
            Lengths = layout.Add(problem.NumHeads);
            Budgets = layout.Add(problem.NumHeads);
            LastKept = layout.Add((long)SelectSlots.Words * problem.NumHeads);
            Totals = layout.Add(2L * problem.NumHeads);
            Bytes = layout.Bytes;
        }
    }

    private abstract class Instance
    {
        public abstract IEnumerable<GpuEntry> Entries { get; }

        public abstract void Score(
            in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, in Workspace places,
            GpuDevice device);

        public abstract void Sum(
            in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, in Workspace places,
            GpuDevice device);
    }

    private sealed class Instance<T, TStorage> : Instance where T : unmanaged where TStorage : struct, IStorage<T>
    {
        private readonly GpuEntry<SelectiveDecode.Parameters<T>> _score = new(
            SelectiveDecode.ScoreSlots<T, TStorage>, SelectiveDecode.Threads, SelectiveDecode.ScoreSharedBytes);
        private readonly GpuEntry<SelectiveDecode.Parameters<T>> _sum = new(
            SelectiveDecode.SumValues<T, TStorage>, SelectiveDecode.Threads, SelectiveDecode.SumSharedBytes, hasQuadLoads: false);

        public override IEnumerable<GpuEntry> Entries => [_score, _sum];

        public override void Score(
            in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, in Workspace places,
            GpuDevice device)
        {
            SelectiveDecode.Parameters<T> parameters = Create(problem, operands, workspace, places);
            device.Launch(_score, (long)problem.Cells * parameters.GroupsOfCell, parameters);
        }

        public override void Sum(
            in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, in Workspace places,
            GpuDevice device) => device.Launch(_sum, problem.NumHeads, Create(problem, operands, workspace, places));

        private static SelectiveDecode.Parameters<T> Create(
            in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, in Workspace places)
        {
            GpuView query = operands[AttentionDecodeSelectiveProblem.Query], lse = operands[AttentionDecodeSelectiveProblem.Lse];
            GpuView keyScale = operands[AttentionDecodeSelectiveProblem.KeyScale];
            GpuView valueScale = operands[AttentionDecodeSelectiveProblem.ValueScale];
            return new SelectiveDecode.Parameters<T>
            {
                Query = query.AsMatrix<float>(),
                Key = operands[AttentionDecodeSelectiveProblem.Key].AsTokens<T>(),
                Value = operands[AttentionDecodeSelectiveProblem.Value].AsTokens<T>(),
                // What is absent is never read: the arguments need some memory all the same.
                KeyScale = (keyScale.IsPresent ? keyScale : query).AsMatrix<float>(),
                ValueScale = (valueScale.IsPresent ? valueScale : query).AsMatrix<float>(),
                PageTable = operands[AttentionDecodeSelectiveProblem.PageTable].AsMatrix<int>(),
                Lengths = operands[AttentionDecodeSelectiveProblem.Lengths].As<int>(),
                Scores = workspace.SubView(places.Scores).Cast<float>(),
                HeadLengths = workspace.SubView(places.Lengths).Cast<int>(),
                Budgets = workspace.SubView(places.Budgets).Cast<int>(),
                LastKept = workspace.SubView(places.LastKept).Cast<int>(),
                Totals = workspace.SubView(places.Totals).Cast<float>(),
                Output = operands[AttentionDecodeSelectiveProblem.Output].AsMatrix<float>(),
                Lse = (lse.IsPresent ? lse : query).As<float>(),
                Slots = problem.Slots,
                GroupSize = problem.GroupSize,
                GroupsOfCell = (problem.Slots + SelectiveDecode.SlotsOfGroup - 1) / SelectiveDecode.SlotsOfGroup,
                PageSize = problem.PageSize,
                HeadDim = problem.HeadDim,
                ValueHeadDim = problem.ValueHeadDim,
                KeepCount = problem.KeepCount,
                HasScales = keyScale.IsPresent ? 1 : 0,
                HasLse = lse.IsPresent ? 1 : 0,
                IsRenormalised = problem.IsRenormalised ? 1 : 0,
                ScaleLog2 = problem.Scale * Log2E,
            };
        }
    }
}
