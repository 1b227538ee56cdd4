using ILGPU;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// Launches code for tensor cores over parts of the vocabulary, and <see cref="PositionResults"/>. What a group computes is the same for
/// all of them (<see cref="LogSumExpTile"/>); how it multiplies is not.
/// </summary>
internal abstract class CrossEntropyOnTensorCores(string name, PtxTarget target) : GpuKernel<CrossEntropyProblem>(name, DeviceKinds.Cuda)
{
    // The vocabulary is split until every multiprocessor has this many groups.
    private const int GroupsOfUnit = 16;

    // For rows that do not begin on 16 bytes, and for mean logits.
    private readonly CrossEntropyTiled _portable = new();

    /// <inheritdoc/>
    public override string? WhyUnavailable => CudaDriver.WhyCannotRun(target);

    /// <inheritdoc/>
    public override string? WhyUnsupported(in CrossEntropyProblem problem) => CrossEntropyTensorCoreArguments.WhyUnsupported(problem);

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyProblem problem, GpuDevice device) =>
        Math.Max(new Plan(problem, device).WorkspaceBytes, _portable.GetWorkspaceBytes(problem, device));

    /// <inheritdoc/>
    public override void Launch(in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView hidden = operands[CrossEntropyProblem.Hidden], classifier = operands[CrossEntropyProblem.Classifier];
        if (!CrossEntropyTensorCoreArguments.CanCopy(hidden) || !CrossEntropyTensorCoreArguments.CanCopy(classifier))
        {
            _portable.Launch(problem, operands, workspace, device);
            return;
        }
        var plan = new Plan(problem, device);
        LossParameters loss = CrossEntropyArguments.Loss(problem.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        LaunchStates(hidden, classifier, (long)plan.RowTiles * plan.Parts, device, new LogSumExpTile.Parameters
        {
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

    /// <summary>Queues the kernel of the states.</summary>
    protected abstract void LaunchStates(
        in GpuView hidden, in GpuView classifier, long groups, GpuDevice device, in LogSumExpTile.Parameters tile);

    /// <summary>How the vocabulary is split, and what lies where in the workspace.</summary>
    private readonly struct Plan
    {
        public readonly int RowTiles, Parts, ClassesOfPart;
        public readonly long States, BestClasses, PositionLosses, WorkspaceBytes;

        public Plan(in CrossEntropyProblem problem, GpuDevice device)
        {
            RowTiles = (problem.Loss.Positions + ProductTile.BlockM - 1) / ProductTile.BlockM;
            long tiles = ((long)problem.VocabSize + ProductTile.BlockN - 1) / ProductTile.BlockN;
            long wanted = Math.Clamp(((long)GroupsOfUnit * device.ComputeUnits + RowTiles - 1) / Math.Max(1, RowTiles), 1, Math.Max(1, tiles));
            long tilesOfPart = (tiles + wanted - 1) / wanted;
            Parts = tiles == 0 ? 0 : (int)((tiles + tilesOfPart - 1) / tilesOfPart);
            ClassesOfPart = (int)Math.Min(tilesOfPart * ProductTile.BlockN, problem.VocabSize);
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(problem.Loss, ref layout);
            States = layout.Add((long)Parts * problem.Loss.Positions * PartialStates.StateSize);
            BestClasses = layout.Add((long)Parts * problem.Loss.Positions);
            PositionLosses = layout.Add(3L * problem.Loss.Positions);
            WorkspaceBytes = layout.Bytes;
        }
    }
}
