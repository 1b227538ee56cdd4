using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Launches <see cref="LogSumExpWgmma"/> over parts of the vocabulary, and <see cref="PositionResults"/>.</summary>
internal sealed class CrossEntropyWgmma() : GpuKernel<CrossEntropyProblem>("cross-entropy-forward/cuda-wgmma", DeviceKinds.Cuda)
{
    // The vocabulary is split until every multiprocessor has this many groups.
    private const int GroupsOfUnit = 16;

    private readonly TensorCoreEntries<LogSumExpWgmma.Parameters> _entries = new(Entry<TensorCoreFloat16>(), Entry<TensorCoreBFloat16>());

    // For rows that do not begin on 16 bytes, and for mean logits.
    private readonly CrossEntropyTiled _portable = new();

    public override IReadOnlyList<GpuEntry> Entries => [.. _entries.All];

    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(PtxTarget.Sm90a);

    public override string? WhyUnsupported(in CrossEntropyProblem problem) => CrossEntropyWgmmaArguments.WhyUnsupported(problem);

    public override long GetWorkspaceBytes(in CrossEntropyProblem problem, GpuDevice device) =>
        Math.Max(new Plan(problem, device).WorkspaceBytes, _portable.GetWorkspaceBytes(problem, device));

    public override void Launch(in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        if (!CrossEntropyWgmmaArguments.CanCopy(hidden) || !CrossEntropyWgmmaArguments.CanCopy(classifier))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        var plan = new Plan(problem, device);
        LossParameters loss = CrossEntropyArguments.Loss(problem.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        device.Launch(
            _entries.For(problem.Type), (long)plan.RowTiles * plan.Parts, new LogSumExpWgmma.Parameters
            {
                Hidden = CrossEntropyWgmmaArguments.Map(device, hidden, WgmmaProduct.BlockM),
                Classifier = CrossEntropyWgmmaArguments.Map(device, classifier, WgmmaProduct.BlockN),
                States = GpuView.AddressOf(workspace.SubView(plan.States)),
                BestClasses = GpuView.AddressOf(workspace.SubView(plan.BestClasses)),
                Targets = operands[CrossEntropyProblem.Targets].Address,
                Positions = problem.Loss.Positions,
                VocabSize = problem.VocabSize,
                HiddenSize = problem.HiddenSize,
                FirstClass = problem.FirstClass,
                RowTiles = plan.RowTiles,
                ClassesOfPart = plan.ClassesOfPart,
                InverseTemperature = 1 / problem.Temperature,
            });
        CrossEntropyArguments.LaunchResults(
            loss, operands, workspace.SubView(plan.States), workspace.SubView(plan.BestClasses), workspace.SubView(plan.PositionLosses), plan.Parts, device);
        _portable.LaunchMeanLogits(problem, operands, loss, device);
    }

    private static CudaEntry<LogSumExpWgmma.Parameters> Entry<TElement>() where TElement : struct, ITensorCoreElement =>
        new(LogSumExpWgmma.CrossEntropyLogSumExpWgmma<TElement>, PtxTarget.Sm90a, WgmmaProduct.Threads, WgmmaProduct.SharedBytes);

    /// <summary>How the vocabulary is split, and what lies where in the workspace.</summary>
    private readonly struct Plan
    {
        public readonly int RowTiles, Parts, ClassesOfPart;
        public readonly long States, BestClasses, PositionLosses, WorkspaceBytes;

        public Plan(in CrossEntropyProblem problem, GpuDevice device)
        {
            RowTiles = (problem.Loss.Positions + WgmmaProduct.BlockM - 1) / WgmmaProduct.BlockM;
            long tiles = ((long)problem.VocabSize + WgmmaProduct.BlockN - 1) / WgmmaProduct.BlockN;
            long wanted = Math.Clamp(((long)GroupsOfUnit * device.ComputeUnits + RowTiles - 1) / Math.Max(1, RowTiles), 1, Math.Max(1, tiles));
            long tilesOfPart = (tiles + wanted - 1) / wanted;
            Parts = tiles == 0 ? 0 : (int)((tiles + tilesOfPart - 1) / tilesOfPart);
            ClassesOfPart = (int)Math.Min(tilesOfPart * WgmmaProduct.BlockN, problem.VocabSize);
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(problem.Loss, ref layout);
            States = layout.Add((long)Parts * problem.Loss.Positions * PartialStates.StateSize);
            BestClasses = layout.Add((long)Parts * problem.Loss.Positions);
            PositionLosses = layout.Add(3L * problem.Loss.Positions);
            WorkspaceBytes = layout.Bytes;
        }
    }
}
