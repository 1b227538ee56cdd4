using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.SparseAttention;

namespace KernelEngine;

/// <summary>Launches <see cref="CodebookTiles"/>. Workspace: the codebook's gradient, and a loss a sub-vector, for each range of rows.</summary>
internal sealed class SparseCodebookTiles() : GpuKernel<SparseCodebookProblem>("sparse-codebook/ilgpu")
{
    // Ranges of rows: enough groups for a large device with a few sub-vectors, and no more than there are tiles.
    private const int MostChunks = 128;

    private readonly Instances<float> _float32 = Create<float, Float32Storage>();
    private readonly Instances<ushort> _float16 = Create<ushort, Float16Storage>(), _bfloat16 = Create<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [_float32.AddRows, _float32.AddChunks, _float16.AddRows, _float16.AddChunks, _bfloat16.AddRows, _bfloat16.AddChunks];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseCodebookProblem problem, GpuDevice device) => Plan(problem).Bytes;

    /// <inheritdoc/>
    public override void Launch(in SparseCodebookProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, workspace, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, workspace, device);
    }

    private static void Launch<T>(
        Instances<T> instances, in SparseCodebookProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
        where T : unmanaged
    {
        int chunks = CountChunks(problem), numbers = problem.SubVectors * SparseAttention.Codewords * problem.SubVectorSize;
        GpuView rows = operands[SparseCodebookProblem.Rows], gradRows = operands[SparseCodebookProblem.GradRows];
        (long losses, _) = Plan(problem);
        long tiles = (problem.RowCount + CodebookTiles.TileRows - 1) / CodebookTiles.TileRows;
        var parameters = new CodebookTiles.Parameters<T>
        {
            Rows = rows.AsTokens<T>(),
            GradRows = (gradRows.IsPresent ? gradRows : rows).AsTokens<T>(),
            Codebook = operands[SparseCodebookProblem.Codebook].AsTokens<float>(),
            GradCodebook = operands[SparseCodebookProblem.GradCodebook].AsTokens<float>(),
            Loss = operands[SparseCodebookProblem.Loss].As<float>(),
            Sums = workspace.Cast<float>(),
            Losses = workspace.SubView(losses, workspace.Length - losses).Cast<float>(),
            RowCount = problem.RowCount,
            ChunkRows = (tiles + chunks - 1) / chunks * CodebookTiles.TileRows,
            Tokens = problem.Tokens,
            NumHeads = problem.NumHeads,
            HeadDim = problem.HeadDim,
            SubVectors = problem.SubVectors,
            SubVectorSize = problem.SubVectorSize,
            Chunks = chunks,
            HasRowGradient = problem.HasRowGradient ? 1 : 0,
            Factor = 2f / Math.Max(1, problem.RowCount * problem.HeadDim),
            LeastDistance = SparseCodebookProblem.LeastDistance,
        };
        device.Launch(instances.AddRows, (long)problem.SubVectors * chunks, parameters);
        device.Launch(instances.AddChunks, numbers / CodebookTiles.Threads + 1, parameters);
    }

    private static int CountChunks(in SparseCodebookProblem problem) =>
        (int)Math.Clamp(problem.RowCount / (8 * CodebookTiles.TileRows), 1, MostChunks);

    // Where the losses begin, and the bytes of all.
    private static (long Losses, long Bytes) Plan(in SparseCodebookProblem problem)
    {
        long groups = (long)problem.SubVectors * CountChunks(problem);
        var layout = new WorkspaceLayout();
        layout.Add(groups * SparseAttention.Codewords * problem.SubVectorSize);
        long losses = layout.Add(groups);
        return (losses, layout.Bytes);
    }

    private static Instances<T> Create<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> => new(
        new(CodebookTiles.AddRows<T, TStorage>, CodebookTiles.Threads, CodebookTiles.SharedBytes, hasQuadLoads: false),
        new(CodebookTiles.AddChunks, CodebookTiles.Threads, 0, hasQuadLoads: false));

    private sealed record Instances<T>(GpuEntry<CodebookTiles.Parameters<T>> AddRows, GpuEntry<CodebookTiles.Parameters<T>> AddChunks) where T : unmanaged;
}
