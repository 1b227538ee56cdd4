using System.Numerics;
using ILGPU;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>
/// Launches <see cref="SelectKeys"/>. Workspace: subVectors · 2 bytes for each key of each key head, and for each of the groups that run
/// at once some bits a key.
/// </summary>
internal sealed class SparseSelectKeys() : GpuKernel<SparseSelectProblem>("sparse-select/ilgpu")
{
    private const int GroupsOfUnit = 16, WordBits = 32, MostKeys = 1 << 30;

    private readonly GpuEntry<SelectKeys.Parameters> _build = new(SelectKeys.BuildBitmaps, SelectKeys.Threads, 0, hasQuadLoads: false);
    private readonly GpuEntry<SelectKeys.Parameters> _select = new(
        SelectKeys.SelectRows, SelectKeys.Threads, SelectKeys.SelectSharedBytes, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_build, _select];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in SparseSelectProblem problem) =>
        problem.KvLength > MostKeys ? $"chooses among at most {MostKeys} keys" : null;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseSelectProblem problem, GpuDevice device) => Plan(problem, device).Bytes;

    /// <inheritdoc/>
    public override void Launch(in SparseSelectProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        long rows = CountRows(problem), words = CountBitmapWords(problem);
        if (rows == 0)
            return;
        (long scratch, _) = Plan(problem, device);
        GpuView lengths = operands[SparseSelectProblem.KvLengths], columns = operands[SparseSelectProblem.Columns];
        var parameters = new SelectKeys.Parameters
        {
            QueryCodes = operands[SparseSelectProblem.QueryCodes].AsTokens<int>(),
            KeyCodes = operands[SparseSelectProblem.KeyCodes].AsTokens<int>(),
            Lists = SparseAttentionArguments.CreateLists(columns, operands[SparseSelectProblem.Counts]),
            KvLengths = AttentionArguments.Or(lengths, columns).As<int>(),
            Bitmaps = workspace.Cast<uint>(),
            Scratch = workspace.SubView(scratch, workspace.Length - scratch).Cast<uint>(),
            BitmapWords = words,
            Rows = rows,
            IndexHeads = problem.IndexHeads,
            NumKvHeads = problem.NumKvHeads,
            HeadsOfList = problem.HeadsOfList,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            KvLength = problem.KvLength,
            KeyWords = CountKeyWords(problem),
            SubVectors = problem.SubVectors,
            Planes = CountPlanes(problem),
            Capacity = problem.Capacity,
            IsCausal = problem.IsCausal ? 1 : 0,
            KeepsEarliest = problem.KeepsEarliest ? 1 : 0,
            Sinks = problem.Sinks,
            Recent = problem.Recent,
            HasKvLengths = problem.HasKvLengths ? 1 : 0,
        };
        device.Launch(_build, (words + SelectKeys.Threads - 1) / SelectKeys.Threads, parameters);
        device.Launch(_select, CountGroups(problem, device), parameters);
    }

    // Where the groups' memory begins, and the bytes of all.
    private static (long Scratch, long Bytes) Plan(in SparseSelectProblem problem, GpuDevice device)
    {
        var layout = new WorkspaceLayout();
        layout.Add(CountBitmapWords(problem));
        long scratch = layout.Add(checked(CountGroups(problem, device) * (2L + CountPlanes(problem)) * CountKeyWords(problem)));
        return (scratch, layout.Bytes);
    }

    private static int CountKeyWords(in SparseSelectProblem problem) => (int)((problem.KvLength + WordBits - 1L) / WordBits);

    private static int CountPlanes(in SparseSelectProblem problem) => BitOperations.Log2((uint)problem.MostMatches) + 1;

    private static long CountRows(in SparseSelectProblem problem) => (long)problem.BatchSize * problem.IndexHeads * problem.QueryLength;

    private static long CountBitmapWords(in SparseSelectProblem problem) =>
        checked((long)problem.BatchSize * problem.NumKvHeads * problem.SubVectors * SparseAttention.Codewords * CountKeyWords(problem));

    private static long CountGroups(in SparseSelectProblem problem, GpuDevice device) =>
        Math.Min(CountRows(problem), (long)GroupsOfUnit * Math.Max(1, device.ComputeUnits));
}
