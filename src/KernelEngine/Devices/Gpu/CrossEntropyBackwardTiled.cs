using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches the kernels of cross-entropy's gradients. The vocabulary is cut into chunks; for each, the gradients of its logits are
/// made in scratch memory of a fixed size (or 256 bytes a position, if that is more), and then multiplied by groups that own parts of
/// the results. Every logit is computed once, and nothing is added atomically: the same inputs give the same bits.
/// </summary>
/// <param name="tilesOfUnit">Tiles of 16 KiB that a chunk has for each compute unit: enough to keep it busy.</param>
internal sealed class CrossEntropyBackwardTiled(int tilesOfUnit = 32)
    : GpuKernel<CrossEntropyBackwardProblem>("cross-entropy-backward/ilgpu-tiled")
{
    private readonly GpuEntry<GradientRows.BiasParameters> _gradBias = new(GradientRows.CrossEntropyGradBias, GradientRows.Threads, 0);
    private readonly GpuEntry<GradientRows.ClearParameters> _clear = new(
        GradientRows.CrossEntropyClear, GradientRows.Threads, 0, hasQuadLoads: false);

    // In the order of DataType.
    private readonly Instance[] _instances =
        [new Instance<float, Float32Storage>(), new Instance<ushort, Float16Storage>(), new Instance<ushort, BFloat16Storage>()];

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
        [CrossEntropyArguments.PositionSums, .. _instances.SelectMany(i => i.Entries), _gradBias, _clear];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyBackwardProblem problem, GpuDevice device) =>
        new Plan(problem, tilesOfUnit, device).WorkspaceBytes;

    /// <inheritdoc/>
    public override void Launch(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden], gradBias = operands[CrossEntropyBackwardProblem.GradBias];
        if (!gradHidden.IsPresent && !operands[CrossEntropyBackwardProblem.GradClassifier].IsPresent && !gradBias.IsPresent)
            return;
        CrossEntropyProblem forward = problem.Forward;
        var plan = new Plan(problem, tilesOfUnit, device);
        LossParameters loss = CrossEntropyArguments.Loss(forward.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        if (gradHidden.IsPresent)
        {
            device.Launch(_clear, forward.Loss.Rows, new GradientRows.ClearParameters
            {
                Target = Typed(gradHidden),
                Columns = forward.HiddenSize,
            });
        }
        for (int place = 0; place < forward.VocabSize; place += plan.ClassesOfChunk)
        {
            int end = (int)Math.Min((long)place + plan.ClassesOfChunk, forward.VocabSize);
            _instances[(int)forward.Type].Launch(problem, operands, loss, plan, place, end, workspace, device);
            if (gradBias.IsPresent)
                LaunchGradBias(problem, operands, loss, plan, place, end, workspace, device);
        }
    }

    private void LaunchGradBias(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, in Plan plan, int place, int end,
        ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView gradBias = operands[CrossEntropyBackwardProblem.GradBias], order = operands[CrossEntropyBackwardProblem.Order];
        device.Launch(_gradBias, CrossEntropyArguments.Tiles(end - place), new GradientRows.BiasParameters
        {
            Gradients = workspace.SubView(plan.Gradients).Cast<float>(),
            Count = loss.Count,
            Order = AttentionArguments.Or(order, gradBias).As<int>(),
            Target = new TypedTensor { Data = gradBias.Data, Type = (int)gradBias.Type },
            HasOrder = order.IsPresent ? 1 : 0,
            VocabSize = problem.Forward.VocabSize,
            RowTiles = plan.RowTiles,
            FirstPlace = place,
            EndPlace = end,
        });
    }

    // A matrix whose type is chosen at run time; the numbers of f32, f16 and bf16 are those of TypedTensor.
    private static TypedTensor Typed(in GpuView view) => new()
    {
        Data = view.Data,
        TokenStride = view.Layout.Stride(0),
        HasQuads = view.HasQuads ? 1 : 0,
        Type = (int)view.Type,
    };

    /// <summary>How the vocabulary is cut, and what lies where in the workspace.</summary>
    internal readonly struct Plan
    {
        /// <summary>Tiles of positions.</summary>
        public readonly int RowTiles;

        /// <summary>Classes of a chunk, whole tiles.</summary>
        public readonly int ClassesOfChunk;

        /// <summary>Chunks of the vocabulary.</summary>
        public readonly int Chunks;

        /// <summary>Elements of a row of the sums of gradHidden, whole quads.</summary>
        public readonly int SumStride;

        /// <summary>Where arrays begin in the workspace, and how long it is.</summary>
        public readonly long Gradients, IsKept, HiddenSums, WorkspaceBytes;

        public Plan(in CrossEntropyBackwardProblem problem, int tilesOfUnit, GpuDevice device)
        {
            CrossEntropyProblem forward = problem.Forward;
            RowTiles = (int)CrossEntropyArguments.Tiles(forward.Loss.Positions);
            long tiles = Math.Max(1, CrossEntropyArguments.Tiles(forward.VocabSize));
            long fitting = Math.Clamp((long)tilesOfUnit * device.ComputeUnits / Math.Max(1, RowTiles), 1, tiles);
            Chunks = (int)((tiles + fitting - 1) / fitting);
            long tilesOfChunk = (tiles + Chunks - 1) / Chunks;
            ClassesOfChunk = checked((int)Math.Min(tilesOfChunk * LogitTile.Size, Math.Max(1, forward.VocabSize)));
            SumStride = (forward.HiddenSize + 3) / 4 * 4;
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(forward.Loss, ref layout);
            Gradients = layout.Add(tilesOfChunk * RowTiles * LogitTile.Size * LogitTile.Size);
            IsKept = layout.Add(tilesOfChunk * RowTiles);
            // Sums of several chunks are kept in float32: where the gradient is, there.
            bool hasSums = Chunks > 1 && problem.GetOperand(CrossEntropyBackwardProblem.GradHidden).Type != DataType.Float32;
            HiddenSums = layout.Add(hasSums ? (long)forward.Loss.Rows * SumStride : 0);
            WorkspaceBytes = layout.Bytes;
        }
    }

    private abstract class Instance
    {
        public abstract IEnumerable<GpuEntry> Entries { get; }

        public abstract void Launch(
            in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, in Plan plan, int place,
            int end, ArrayView<byte> workspace, GpuDevice device);
    }

    private sealed class Instance<T, TStorage> : Instance where T : unmanaged where TStorage : struct, IStorage<T>
    {
        private readonly GpuEntry<LogitGradients.Parameters<T>> _logits = new(
            LogitGradients.CrossEntropyLogitGradients<T, TStorage>, LogitTile.Threads, LogitGradients.SharedBytes);
        private readonly GpuEntry<GradientProduct.Parameters<T>> _product = new(
            GradientProduct.CrossEntropyGradientProduct<T, TStorage>, LogitTile.Threads, GradientProduct.SharedBytes);

        public override IEnumerable<GpuEntry> Entries => [_logits, _product];

        public override void Launch(
            in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, in Plan plan, int place,
            int end, ArrayView<byte> workspace, GpuDevice device)
        {
            GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden];
            GpuView gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
            LogitParameters<T> logits = CrossEntropyArguments.Logits<T>(
                problem.Forward, operands, operands[CrossEntropyBackwardProblem.Order], loss);
            ArrayView<float> gradients = workspace.SubView(plan.Gradients).Cast<float>();
            ArrayView<int> isKept = workspace.SubView(plan.IsKept).Cast<int>();
            long classTiles = CrossEntropyArguments.Tiles(end - place);
            long columnTiles = CrossEntropyArguments.Tiles(problem.Forward.HiddenSize);
            device.Launch(_logits, classTiles * plan.RowTiles, new LogitGradients.Parameters<T>
            {
                Logits = logits,
                Upstream = CrossEntropyArguments.Upstream(operands),
                Gradients = gradients,
                IsKept = isKept,
                RowTiles = plan.RowTiles,
                FirstPlace = place,
                EndPlace = end,
                FilterEpsilon = problem.FilterEpsilon,
            });
            var product = new GradientProduct.Parameters<T>
            {
                Logits = logits,
                Gradients = gradients,
                IsKept = isKept,
                RowTiles = plan.RowTiles,
                ClassTiles = (int)classTiles,
                FirstPlace = place,
                EndPlace = end,
                ColumnTiles = (int)columnTiles,
            };
            if (gradHidden.IsPresent)
            {
                product.Target = Typed(gradHidden);
                product.Sums = gradHidden.Type == DataType.Float32 ? gradHidden.AsMatrix<float>() : new MatrixView<float>
                {
                    Data = workspace.SubView(plan.HiddenSums).Cast<float>(),
                    RowStride = plan.SumStride,
                    HasQuads = 1,
                };
                product.IsFiltered = problem.FilterEpsilon > 0 && !problem.IsHiddenFull ? 1 : 0;
                product.IsFirst = place == 0 ? 1 : 0;
                product.IsLast = end == problem.Forward.VocabSize ? 1 : 0;
                device.Launch(_product, columnTiles * plan.RowTiles, product);
            }
            if (gradClassifier.IsPresent)
            {
                product.Target = Typed(gradClassifier);
                product.Sums = new MatrixView<float> { Data = gradients }; // not read: the sum has all its terms
                product.OwnsClasses = 1;
                product.IsFiltered = problem.FilterEpsilon > 0 && !problem.IsClassifierFull ? 1 : 0;
                product.IsFirst = 1;
                product.IsLast = 1;
                device.Launch(_product, columnTiles * classTiles, product);
            }
        }
    }
}
