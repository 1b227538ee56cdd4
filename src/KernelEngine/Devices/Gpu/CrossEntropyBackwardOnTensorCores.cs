using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches cross-entropy's gradients on tensor cores. The vocabulary is cut into chunks; for each, the gradients of its
/// logits are made in scratch memory and multiplied by groups that own parts of the results. Every logit is computed once, and nothing
/// is added atomically: the same inputs give the same bits. What a group computes is the same for all tensor cores
/// (<see cref="LogitGradientTile"/>, <see cref="GradientProductTile"/>); how it multiplies is not.
/// </summary>
internal abstract class CrossEntropyBackwardOnTensorCores(string name, PtxTarget target)
    : GpuKernel<CrossEntropyBackwardProblem>(name, DeviceKinds.Cuda)
{
    // Class tiles of a chunk, at least and at most: 16-bit gradients of 8192 positions and 6144 classes are 96 MiB.
    private const int MinTiles = 8, MaxTiles = 24;

    // Class tiles that one group makes gradients of, one after another.
    private const int TilesOfPart = 4;

    private readonly GpuEntry<RowNumbers.Parameters> _rows = new(RowNumbers.CrossEntropyRowNumbers, RowNumbers.Threads, 0, hasQuadLoads: false);

    // For matrices whose rows do not begin on 16 bytes.
    private readonly CrossEntropyBackwardTiled _portable = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_rows, .. Products];

    /// <inheritdoc/>
    public override bool RoundsIntermediates => true;

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(target);

    /// <inheritdoc/>
    public override string? WhyUnsupported(in CrossEntropyBackwardProblem problem) =>
        CrossEntropyTensorCoreArguments.WhyUnsupported(problem.Forward)
        ?? (problem.HasGradEntropy ? "computes no gradient of the entropy"
            : problem.Forward.IsShard ? "rounds the gradients of logits to 16 bits, which the float32 sums of a shard are not to show" : null);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyBackwardProblem problem, GpuDevice device) =>
        Math.Max(new Plan(problem, device).WorkspaceBytes, _portable.GetWorkspaceBytes(problem, device));

    /// <inheritdoc/>
    public override void Launch(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        CrossEntropyProblem forward = problem.Forward;
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden], gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
        if (!CrossEntropyTensorCoreArguments.CanCopy(hidden) || !CrossEntropyTensorCoreArguments.CanCopy(classifier)
            || (gradHidden.IsPresent && !gradHidden.HasRowsOf(2)) || (gradClassifier.IsPresent && !gradClassifier.HasRowsOf(2)))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        if (!gradHidden.IsPresent && !gradClassifier.IsPresent)
            return;
        var plan = new Plan(problem, device);
        LossParameters loss = CrossEntropyArguments.Loss(forward.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        int rows = plan.RowTiles * ProductTile.BlockM;
        device.Launch(_rows, rows / RowNumbers.Threads, new RowNumbers.Parameters
        {
            Loss = loss,
            Upstream = CrossEntropyArguments.Upstream(operands),
            Rows = workspace.SubView(plan.Rows, 16L * rows).Cast<Float4>(),
            RowCount = rows,
            FirstClass = forward.FirstClass,
            InverseTemperature = 1 / forward.Temperature,
        });
        for (int place = 0; place < forward.VocabSize; place += plan.ClassesOfChunk)
            LaunchChunk(problem, operands, plan, place, (int)Math.Min((long)place + plan.ClassesOfChunk, forward.VocabSize), workspace, device);
    }

    /// <summary>The code for tensor cores.</summary>
    protected abstract IEnumerable<GpuEntry> Products { get; }

    /// <summary>Queues the kernel of the logits' gradients.</summary>
    protected abstract void LaunchLogits(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogitGradientTile.Parameters tile);

    /// <summary>Queues the kernel of gradHidden, or where it owns classes of gradClassifier.</summary>
    protected abstract void LaunchProduct(
        bool ownsClasses, in MatrixAddress gradients, in GpuView other, long groups, GpuDevice device, in GradientProductTile.Parameters tile);

    private void LaunchChunk(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, in Plan plan, int place, int end,
        ArrayView<byte> workspace, GpuDevice device)
    {
        CrossEntropyProblem forward = problem.Forward;
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden];
        GpuView gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
        var gradients = new MatrixAddress
        {
            Address = GpuView.AddressOf(workspace.SubView(plan.Gradients)),
            Stride = plan.ClassesOfChunk,
            Rows = plan.RowTiles * ProductTile.BlockM,
            Columns = plan.ClassesOfChunk,
        };
        long isKept = GpuView.AddressOf(workspace.SubView(plan.IsKept));
        int classTiles = (end - place + ProductTile.BlockN - 1) / ProductTile.BlockN;
        LaunchLogits(hidden, classifier, (long)plan.RowTiles * ((classTiles + TilesOfPart - 1) / TilesOfPart), device, new LogitGradientTile.Parameters
        {
            Gradients = gradients.Address,
            IsKept = isKept,
            Rows = GpuView.AddressOf(workspace.SubView(plan.Rows)),
            GradientStride = plan.ClassesOfChunk,
            HiddenSize = forward.HiddenSize,
            RowTiles = plan.RowTiles,
            FirstPlace = place,
            EndPlace = end,
            ClassesOfPart = TilesOfPart * ProductTile.BlockN,
            InverseTemperature = 1 / forward.Temperature,
            FilterEpsilon = problem.FilterEpsilon,
        });
        bool isFirst = place == 0, isLast = end == forward.VocabSize;
        if (gradHidden.IsPresent)
        {
            bool sumsInPlace = gradHidden.Type == DataType.Float32;
            LaunchProduct(false, gradients, classifier, (long)plan.RowTiles * plan.ColumnTiles, device, new GradientProductTile.Parameters
            {
                IsKept = problem.FilterEpsilon > 0 && !problem.IsHiddenFull ? isKept : 0,
                Sums = sumsInPlace ? gradHidden.Address : GpuView.AddressOf(workspace.SubView(plan.HiddenSums)),
                SumStride = sumsInPlace ? gradHidden.Layout.Stride(0) : forward.HiddenSize,
                Target = isLast ? gradHidden.Address : 0,
                TargetStride = gradHidden.Layout.Stride(0),
                IsTargetFloat32 = sumsInPlace ? 1 : 0,
                Rows = forward.Loss.Positions,
                HiddenSize = forward.HiddenSize,
                Terms = end - place,
                TermOffset = place,
                ColumnTiles = plan.ColumnTiles,
                RowTiles = plan.RowTiles,
                IsFirst = isFirst ? 1 : 0,
            });
        }
        if (gradClassifier.IsPresent)
        {
            bool isFloat32 = gradClassifier.Type == DataType.Float32;
            long classTilesOf128 = (end - place + ProductTile.BlockM - 1) / ProductTile.BlockM;
            LaunchProduct(true, gradients, hidden, classTilesOf128 * plan.ColumnTiles, device, new GradientProductTile.Parameters
            {
                IsKept = problem.FilterEpsilon > 0 && !problem.IsClassifierFull ? isKept : 0,
                Target = gradClassifier.Address + place * gradClassifier.Layout.Stride(0) * gradClassifier.Type.SizeInBytes(),
                TargetStride = gradClassifier.Layout.Stride(0),
                IsTargetFloat32 = isFloat32 ? 1 : 0,
                Rows = end - place,
                HiddenSize = forward.HiddenSize,
                Terms = forward.Loss.Positions,
                ColumnTiles = plan.ColumnTiles,
                RowTiles = plan.RowTiles,
                IsFirst = 1,
            });
        }
    }

    /// <summary>How the vocabulary is cut, and what lies where in the workspace.</summary>
    private readonly struct Plan
    {
        public readonly int RowTiles, ColumnTiles, ClassesOfChunk;
        public readonly long Rows, Gradients, IsKept, HiddenSums, WorkspaceBytes;

        public Plan(in CrossEntropyBackwardProblem problem, GpuDevice device)
        {
            CrossEntropyProblem forward = problem.Forward;
            RowTiles = (forward.Loss.Positions + ProductTile.BlockM - 1) / ProductTile.BlockM;
            ColumnTiles = (forward.HiddenSize + ProductTile.BlockN - 1) / ProductTile.BlockN;
            long all = ((long)forward.VocabSize + ProductTile.BlockN - 1) / ProductTile.BlockN;
            int tiles = (int)Math.Min(all, BestTiles(ColumnTiles, device.ComputeUnits));
            ClassesOfChunk = tiles * ProductTile.BlockN;
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(forward.Loss, ref layout);
            Rows = layout.Add(4L * RowTiles * ProductTile.BlockM);
            Gradients = layout.Add((long)RowTiles * ProductTile.BlockM * ClassesOfChunk / 2);
            IsKept = layout.Add((long)tiles * RowTiles * LogitGradientTile.Flags);
            bool hasSums = all > tiles && problem.GetOperand(CrossEntropyBackwardProblem.GradHidden).Type != DataType.Float32;
            HiddenSums = layout.Add(hasSums ? (long)forward.Loss.Rows * forward.HiddenSize : 0);
            WorkspaceBytes = layout.Bytes;
        }

        // gradClassifier's tiles, two for each class tile and column tile, should fill the multiprocessors a whole number of times.
        private static int BestTiles(int columnTiles, int units)
        {
            (int best, double bestShare) = (MinTiles, 0);
            for (int tiles = MinTiles; tiles <= MaxTiles; tiles++)
            {
                int groups = 2 * tiles * columnTiles, rounds = (groups + units - 1) / units;
                double share = (double)groups / ((double)rounds * units);
                if (share >= bestShare)
                    (best, bestShare) = (tiles, share);
            }
            return best;
        }
    }
}
