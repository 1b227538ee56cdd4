using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Launches the forward kernels of cross-entropy: what is summed over positions, <see cref="PartialStates"/> of parts of the
/// vocabulary, and <see cref="PositionResults"/>. Nothing is added atomically: the same inputs give the same bits.
/// </summary>
internal sealed class CrossEntropyTiled() : GpuKernel<CrossEntropyProblem>("cross-entropy-forward/ilgpu-tiled")
{
    // Few positions leave the vocabulary to be split until every compute unit has this many groups.
    private const int GroupsOfUnit = 8;

    // In the order of DataType.
    private readonly Instance[] _instances =
        [new Instance<float, Float32Storage>(), new Instance<ushort, Float16Storage>(), new Instance<ushort, BFloat16Storage>()];

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
    [
        CrossEntropyArguments.PositionSums, .. _instances.SelectMany(i => i.Entries), CrossEntropyArguments.Results,
        CrossEntropyArguments.Totals,
    ];

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyProblem problem, GpuDevice device) => new Plan(problem, device).WorkspaceBytes;

    /// <inheritdoc/>
    public override void Launch(in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        var plan = new Plan(problem, device);
        LossParameters loss = CrossEntropyArguments.Loss(problem.Loss, operands, workspace);
        device.Launch(CrossEntropyArguments.PositionSums, 1, loss);
        _instances[(int)problem.Type].Launch(problem, operands, loss, plan, workspace, device);
        LaunchMeanLogits(problem, operands, loss, device);
        CrossEntropyArguments.LaunchResults(
            loss, operands, workspace.SubView(plan.States), workspace.SubView(plan.BestClasses), workspace.SubView(plan.PositionLosses), plan.Parts, device);
    }

    /// <summary>Queues the kernel of the mean logits, where they are asked for.</summary>
    internal void LaunchMeanLogits(in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, GpuDevice device) =>
        _instances[(int)problem.Type].LaunchMeanLogits(problem, operands, loss, device);

    /// <summary>How the vocabulary is split, and what lies where in the workspace.</summary>
    internal readonly struct Plan
    {
        /// <summary>Tiles of positions.</summary>
        public readonly int RowTiles;

        /// <summary>Parts of the vocabulary; none of an empty one.</summary>
        public readonly int Parts;

        /// <summary>Classes of a part, whole tiles.</summary>
        public readonly int ClassesOfPart;

        /// <summary>Where arrays begin in the workspace, and how long it is.</summary>
        public readonly long States, BestClasses, PositionLosses, WorkspaceBytes;

        public Plan(in CrossEntropyProblem problem, GpuDevice device)
        {
            RowTiles = (int)CrossEntropyArguments.Tiles(problem.Loss.Positions);
            long tiles = CrossEntropyArguments.Tiles(problem.VocabSize), groups = (long)GroupsOfUnit * device.ComputeUnits;
            long wanted = Math.Clamp((groups + RowTiles - 1) / Math.Max(1, RowTiles), 1, Math.Max(1, tiles));
            long tilesOfPart = (tiles + wanted - 1) / wanted;
            Parts = tiles == 0 ? 0 : (int)((tiles + tilesOfPart - 1) / tilesOfPart);
            ClassesOfPart = (int)Math.Min(tilesOfPart * LogitTile.Size, problem.VocabSize);
            var layout = default(WorkspaceLayout);
            CrossEntropyArguments.AddScratch(problem.Loss, ref layout);
            long states = (long)Parts * problem.Loss.Positions;
            States = layout.Add(states * PartialStates.StateSize);
            BestClasses = layout.Add(states);
            PositionLosses = layout.Add(3L * problem.Loss.Positions);
            WorkspaceBytes = layout.Bytes;
        }
    }

    private abstract class Instance
    {
        public abstract IEnumerable<GpuEntry> Entries { get; }

        public abstract void Launch(
            in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, in Plan plan, ArrayView<byte> workspace,
            GpuDevice device);

        public abstract void LaunchMeanLogits(
            in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, GpuDevice device);
    }

    private sealed class Instance<T, TStorage> : Instance where T : unmanaged where TStorage : struct, IStorage<T>
    {
        private readonly GpuEntry<PartialStates.Parameters<T>> _states = new(
            PartialStates.CrossEntropyPartialStates<T, TStorage>, LogitTile.Threads, LogitTile.SharedBytes);
        private readonly GpuEntry<MeanLogits.Parameters<T>> _means = new(
            MeanLogits.CrossEntropyMeanLogits<T, TStorage>, LogitTile.Threads, LogitTile.SharedBytes);

        public override IEnumerable<GpuEntry> Entries => [_states, _means];

        public override void Launch(
            in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, in Plan plan, ArrayView<byte> workspace,
            GpuDevice device)
        {
            LogitParameters<T> logits = CrossEntropyArguments.Logits<T>(problem, operands, default, loss);
            device.Launch(_states, (long)plan.RowTiles * plan.Parts, new PartialStates.Parameters<T>
            {
                Logits = logits,
                States = workspace.SubView(plan.States).Cast<float>(),
                BestClasses = workspace.SubView(plan.BestClasses).Cast<int>(),
                RowTiles = plan.RowTiles,
                ClassesOfPart = plan.ClassesOfPart,
            });
        }

        public override void LaunchMeanLogits(
            in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in LossParameters loss, GpuDevice device)
        {
            if (operands[CrossEntropyProblem.MeanLogit] is { IsPresent: true } means)
            {
                device.Launch(_means, CrossEntropyArguments.Tiles(problem.VocabSize), new MeanLogits.Parameters<T>
                {
                    Logits = CrossEntropyArguments.Logits<T>(problem, operands, default, loss),
                    MeanLogit = means.As<float>(),
                });
            }
        }
    }
}
