using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches cross-entropy's gradients on Hopper's tensor cores. The vocabulary is cut into chunks; for each, the gradients of its
/// logits are made in scratch memory and multiplied by groups that own parts of the results. Every logit is computed once, and nothing
/// is added atomically: the same inputs give the same bits.
/// </summary>
internal sealed class CrossEntropyBackwardWgmma()
    : GpuKernel<CrossEntropyBackwardProblem>("cross-entropy-backward/cuda-wgmma", DeviceKinds.Cuda)
{
    // Class tiles of a chunk, at least and at most: 16-bit gradients of 8192 positions and 6144 classes are 96 MiB.
    private const int MinTiles = 8, MaxTiles = 24;

    // Class tiles that one group makes gradients of, one after another.
    private const int TilesOfPart = 4;

    private readonly GpuEntry<RowNumbers.Parameters> _rows = new(RowNumbers.CrossEntropyRowNumbers, RowNumbers.Threads, 0, hasQuadLoads: false);
    private readonly TensorCoreEntries<LogitGradientsWgmma.Parameters> _logits = new(
        Entry<LogitGradientsWgmma.Parameters>(LogitGradientsWgmma.CrossEntropyLogitGradientsWgmma<TensorCoreFloat16>),
        Entry<LogitGradientsWgmma.Parameters>(LogitGradientsWgmma.CrossEntropyLogitGradientsWgmma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductWgmma.Parameters> _gradHidden = new(
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradHiddenWgmma<TensorCoreFloat16>),
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradHiddenWgmma<TensorCoreBFloat16>));
    private readonly TensorCoreEntries<GradientProductWgmma.Parameters> _gradClassifier = new(
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradClassifierWgmma<TensorCoreFloat16>),
        Entry<GradientProductWgmma.Parameters>(GradientProductWgmma.CrossEntropyGradClassifierWgmma<TensorCoreBFloat16>));

    // For matrices whose rows do not begin on 16 bytes.
    private readonly CrossEntropyBackwardTiled _portable = new();

    public override IReadOnlyList<GpuEntry> Entries => [_rows, .. _logits.All, .. _gradHidden.All, .. _gradClassifier.All];

    public override bool RoundsIntermediates => true;

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm90a);

    public override string? WhyUnsupported(in CrossEntropyBackwardProblem problem) =>
        CrossEntropyWgmmaArguments.WhyUnsupported(problem.Forward) ?? (problem.HasGradEntropy ? "computes no gradient of the entropy" : null);

    public override long GetWorkspaceBytes(in CrossEntropyBackwardProblem problem, GpuDevice device) =>
        Math.Max(new Plan(problem, device).WorkspaceBytes, _portable.GetWorkspaceBytes(problem, device));

    public override void Launch(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        CrossEntropyProblem forward = problem.Forward;
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden], gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
        if (!CrossEntropyWgmmaArguments.CanCopy(hidden) || !CrossEntropyWgmmaArguments.CanCopy(classifier)
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
        int rows = plan.RowTiles * WgmmaProduct.BlockM;
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

    private void LaunchChunk(
        in CrossEntropyBackwardProblem problem, ReadOnlySpan<GpuView> operands, in Plan plan, int place, int end,
        ArrayView<byte> workspace, GpuDevice device)
    {
        CrossEntropyProblem forward = problem.Forward;
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        GpuView gradHidden = operands[CrossEntropyBackwardProblem.GradHidden];
        GpuView gradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier];
        long gradients = GpuView.AddressOf(workspace.SubView(plan.Gradients)), isKept = GpuView.AddressOf(workspace.SubView(plan.IsKept));
        int rows = plan.RowTiles * WgmmaProduct.BlockM, stride = plan.ClassesOfChunk;
        int classTiles = (end - place + WgmmaProduct.BlockN - 1) / WgmmaProduct.BlockN;
        device.Launch(_logits.For(forward.Type), (long)plan.RowTiles * ((classTiles + TilesOfPart - 1) / TilesOfPart), new LogitGradientsWgmma.Parameters
        {
            Hidden = CrossEntropyWgmmaArguments.Map(device, hidden, WgmmaProduct.BlockM),
            Classifier = CrossEntropyWgmmaArguments.Map(device, classifier, WgmmaProduct.BlockN),
            Gradients = gradients,
            IsKept = isKept,
            Rows = GpuView.AddressOf(workspace.SubView(plan.Rows)),
            GradientStride = stride,
            HiddenSize = forward.HiddenSize,
            RowTiles = plan.RowTiles,
            FirstPlace = place,
            EndPlace = end,
            ClassesOfPart = TilesOfPart * WgmmaProduct.BlockN,
            InverseTemperature = 1 / forward.Temperature,
            FilterEpsilon = problem.FilterEpsilon,
        });
        bool isFirst = place == 0, isLast = end == forward.VocabSize;
        if (gradHidden.IsPresent)
        {
            bool sumsInPlace = gradHidden.Type == DataType.Float32;
            device.Launch(_gradHidden.For(forward.Type), (long)plan.RowTiles * plan.ColumnTiles, new GradientProductWgmma.Parameters
            {
                Gradients = Map(rows, WgmmaProduct.LeftRows(isTransposed: false)),
                Other = CrossEntropyWgmmaArguments.Map(device, classifier, WgmmaProduct.RightRows(isTransposed: true)),
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
            long classTilesOf128 = (end - place + WgmmaProduct.BlockM - 1) / WgmmaProduct.BlockM;
            device.Launch(_gradClassifier.For(forward.Type), classTilesOf128 * plan.ColumnTiles, new GradientProductWgmma.Parameters
            {
                Gradients = Map(rows, WgmmaProduct.LeftRows(isTransposed: true)),
                Other = CrossEntropyWgmmaArguments.Map(device, hidden, WgmmaProduct.RightRows(isTransposed: true)),
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

        TensorMap Map(int height, int boxRows) =>
            CrossEntropyWgmmaArguments.Map(device, gradients, forward.Type, stride, height, stride, boxRows);
    }

    private static CudaEntry<TParameters> Entry<TParameters>(Action<TParameters> body) where TParameters : unmanaged =>
        new(body, PtxTarget.Sm90a, WgmmaProduct.Threads, WgmmaProduct.SharedBytes);

    /// <summary>How the vocabulary is cut, and what lies where in the workspace.</summary>
    private readonly struct Plan
    {
        public readonly int RowTiles, ColumnTiles, ClassesOfChunk;
        public readonly long Rows, Gradients, IsKept, HiddenSums, WorkspaceBytes;

        public Plan(in CrossEntropyBackwardProblem problem, GpuDevice device)
        {
            CrossEntropyProblem forward = problem.Forward;
            RowTiles = (forward.Loss.Positions + WgmmaProduct.BlockM - 1) / WgmmaProduct.BlockM;
            ColumnTiles = (forward.HiddenSize + WgmmaProduct.BlockN - 1) / WgmmaProduct.BlockN;
            long all = ((long)forward.VocabSize + WgmmaProduct.BlockN - 1) / WgmmaProduct.BlockN;
            int tiles = (int)Math.Min(all, BestTiles(ColumnTiles, device.ComputeUnits));
            ClassesOfChunk = tiles * WgmmaProduct.BlockN;
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(forward.Loss, ref layout);
            Rows = layout.Add(4L * RowTiles * WgmmaProduct.BlockM);
            Gradients = layout.Add((long)RowTiles * WgmmaProduct.BlockM * ClassesOfChunk / 2);
            IsKept = layout.Add((long)tiles * RowTiles * LogitGradientsWgmma.FlagsOfTile);
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
