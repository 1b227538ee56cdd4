using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.CrossEntropy;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>
/// A problem with its operands as the arguments that kernels of cross-entropy share, and the code that they share. An absent
/// operand's view is another's: every argument must have memory.
/// </summary>
internal static class CrossEntropyArguments
{
    /// <summary>The code that every call begins with.</summary>
    public static readonly GpuEntry<LossParameters> PositionSums = new(
        Kernels.Gpu.CrossEntropy.PositionSums.CrossEntropyPositionSums, GroupReduce.Threads,
        Kernels.Gpu.CrossEntropy.PositionSums.SharedBytes, hasQuadLoads: false);

    /// <summary>The code that makes results of states.</summary>
    public static readonly GpuEntry<PositionResults.Parameters> Results = new(
        PositionResults.CrossEntropyPositionResults, PositionResults.Threads, 0, hasQuadLoads: false);

    /// <summary>The code that makes one result of those of all positions.</summary>
    public static readonly GpuEntry<PositionResults.Parameters> Totals = new(
        PositionResults.CrossEntropyTotals, GroupReduce.Threads, sizeof(float) * GroupReduce.ScratchSize, hasQuadLoads: false);

    /// <summary>Tiles of 64 along <paramref name="length"/>.</summary>
    public static long Tiles(long length) => (length + LogitTile.Size - 1) / LogitTile.Size;

    /// <summary>The loss, with scratch memory as <see cref="ScratchOf"/> lays it out.</summary>
    public static LossParameters Loss(in CrossEntropyLoss loss, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace)
    {
        GpuView targets = operands[CrossEntropyProblem.Targets], divisor = operands[CrossEntropyProblem.Divisor];
        GpuView classWeights = operands[CrossEntropyProblem.ClassWeights], tokenWeights = operands[CrossEntropyProblem.TokenWeights];
        var scratch = default(WorkspaceLayout);
        ScratchOf(loss, ref scratch, out long count, out long sums, out long counted);
        return new LossParameters
        {
            Targets = targets.As<int>(),
            ClassWeights = AttentionArguments.Or(classWeights, targets).As<float>(),
            TokenWeights = AttentionArguments.Or(tokenWeights, targets).As<float>(),
            Divisor = AttentionArguments.Or(divisor, targets).As<float>(),
            Count = workspace.SubView(count).Cast<int>(),
            Sums = workspace.SubView(sums).Cast<float>(),
            Counted = workspace.SubView(counted).Cast<int>(),
            HasClassWeights = classWeights.IsPresent ? 1 : 0,
            HasTokenWeights = tokenWeights.IsPresent ? 1 : 0,
            HasDivisor = divisor.IsPresent ? 1 : 0,
            IsMean = loss.Reduction == CrossEntropyReduction.Mean ? 1 : 0,
            IsEmptyNaN = loss.IsEmptyNaN ? 1 : 0,
            IsReduced = loss.Reduction == CrossEntropyReduction.None ? 0 : 1,
            Positions = loss.Positions,
            Classes = loss.Classes,
            Shift = loss.Shift,
            IgnoreIndex = loss.IgnoreIndex,
            SequenceLength = loss.SequenceLength > 0 ? loss.SequenceLength : loss.Rows,
            LabelSmoothing = loss.LabelSmoothing,
            ZLoss = loss.ZLoss,
        };
    }

    /// <summary>Adds the loss's scratch memory, which comes first in every workspace.</summary>
    public static void AddScratch(in CrossEntropyLoss loss, ref WorkspaceLayout layout) => ScratchOf(loss, ref layout, out _, out _, out _);

    /// <summary>The logits. <paramref name="order"/> may be absent.</summary>
    public static LogitParameters<T> Logits<T>(
        in CrossEntropyProblem problem, ReadOnlySpan<GpuView> operands, in GpuView order, in LossParameters loss) where T : unmanaged
    {
        GpuView bias = operands[CrossEntropyProblem.Bias], targets = operands[CrossEntropyProblem.Targets];
        return new LogitParameters<T>
        {
            Hidden = operands[CrossEntropyProblem.Hidden].AsMatrix<T>(),
            Classifier = operands[CrossEntropyProblem.Classifier].AsMatrix<T>(),
            Bias = AttentionArguments.Or(bias, targets).Data,
            Order = AttentionArguments.Or(order, targets).As<int>(),
            Loss = loss,
            HasBias = bias.IsPresent ? 1 : 0,
            BiasType = (int)problem.BiasType, // the numbers of f32, f16 and bf16 are those of TypedTensor
            HasOrder = order.IsPresent ? 1 : 0,
            HiddenSize = problem.HiddenSize,
            VocabSize = problem.VocabSize,
            FirstClass = problem.FirstClass,
            Temperature = problem.Temperature,
            LogitSoftCap = problem.LogitSoftCap,
        };
    }

    /// <summary>What follows the forward pass, of the backward problem's operands.</summary>
    public static UpstreamParameters Upstream(ReadOnlySpan<GpuView> operands)
    {
        GpuView lse = operands[CrossEntropyBackwardProblem.Lse], entropy = operands[CrossEntropyBackwardProblem.Entropy];
        GpuView gradLoss = operands[CrossEntropyBackwardProblem.GradLoss], gradLse = operands[CrossEntropyBackwardProblem.GradLse];
        GpuView gradEntropy = operands[CrossEntropyBackwardProblem.GradEntropy];
        return new UpstreamParameters
        {
            Lse = lse.As<float>(),
            Entropy = AttentionArguments.Or(entropy, lse).As<float>(),
            GradLoss = AttentionArguments.Or(gradLoss, lse).As<float>(),
            GradLse = AttentionArguments.Or(gradLse, lse).As<float>(),
            GradEntropy = AttentionArguments.Or(gradEntropy, lse).As<float>(),
            HasGradLoss = gradLoss.IsPresent ? 1 : 0,
            HasGradLse = gradLse.IsPresent ? 1 : 0,
            HasGradEntropy = gradEntropy.IsPresent ? 1 : 0,
        };
    }

    /// <summary>Partial states and where their results go.</summary>
    public static PositionResults.Parameters ResultsOf(
        in LossParameters loss, ReadOnlySpan<GpuView> operands, ArrayView<float> positionLosses)
    {
        GpuView any = operands[CrossEntropyProblem.Targets], state = operands[CrossEntropyProblem.State];
        GpuView lossOutput = operands[CrossEntropyProblem.LossOutput], zLoss = operands[CrossEntropyProblem.ZLossOutput];
        GpuView lse = operands[CrossEntropyProblem.Lse], logProbability = operands[CrossEntropyProblem.LogProbability];
        GpuView entropy = operands[CrossEntropyProblem.Entropy], bestClass = operands[CrossEntropyProblem.BestClass];
        GpuView accuracy = operands[CrossEntropyProblem.Accuracy];
        return new PositionResults.Parameters
        {
            Loss = loss,
            PositionLosses = positionLosses,
            LossOutput = AttentionArguments.Or(lossOutput, any).As<float>(),
            ZLossOutput = AttentionArguments.Or(zLoss, any).As<float>(),
            Lse = AttentionArguments.Or(lse, any).As<float>(),
            LogProbability = AttentionArguments.Or(logProbability, any).As<float>(),
            Entropy = AttentionArguments.Or(entropy, any).As<float>(),
            BestClass = AttentionArguments.Or(bestClass, any).As<int>(),
            State = AttentionArguments.Or(state, any).As<float>(),
            Accuracy = AttentionArguments.Or(accuracy, any).As<float>(),
            StateStride = AttentionArguments.Stride(state, 0),
            HasLoss = lossOutput.IsPresent ? 1 : 0,
            HasZLoss = zLoss.IsPresent ? 1 : 0,
            HasLse = lse.IsPresent ? 1 : 0,
            HasLogProbability = logProbability.IsPresent ? 1 : 0,
            HasEntropy = entropy.IsPresent ? 1 : 0,
            HasBestClass = bestClass.IsPresent ? 1 : 0,
            HasState = state.IsPresent ? 1 : 0,
            HasAccuracy = accuracy.IsPresent ? 1 : 0,
        };
    }

    /// <summary>Queues the kernels that make results of the states of parts of the vocabulary.</summary>
    /// <param name="loss">The loss.</param>
    /// <param name="operands">The forward problem's.</param>
    /// <param name="states">f32 [parts, positions, StateSize].</param>
    /// <param name="bestClasses">i32 [parts, positions].</param>
    /// <param name="positionLosses">Scratch, f32 [3, positions].</param>
    /// <param name="parts">How many.</param>
    /// <param name="device">The device.</param>
    public static void LaunchResults(
        in LossParameters loss, ReadOnlySpan<GpuView> operands, ArrayView<byte> states, ArrayView<byte> bestClasses, ArrayView<byte> positionLosses,
        int parts, GpuDevice device) => LaunchResults(
            ResultsOf(loss, operands, positionLosses.Cast<float>()) with
            {
                States = states.Cast<float>(),
                BestClasses = bestClasses.Cast<int>(),
                PartStride = (long)loss.Positions * PartialStates.StateSize,
                PositionStride = PartialStates.StateSize,
                BestPartStride = loss.Positions,
                Parts = parts,
                HasBestClasses = 1,
            },
            device);

    /// <summary>Queues the kernels that make results of states.</summary>
    public static void LaunchResults(in PositionResults.Parameters parameters, GpuDevice device)
    {
        device.Launch(Results, (parameters.Loss.Positions + PositionResults.Threads - 1L) / PositionResults.Threads, parameters);
        bool hasTotal = parameters.HasAccuracy != 0
            || (parameters.Loss.IsReduced != 0 && (parameters.HasLoss != 0 || parameters.HasZLoss != 0));
        device.Launch(Totals, hasTotal ? 1 : 0, parameters);
    }

    private static void ScratchOf(in CrossEntropyLoss loss, ref WorkspaceLayout layout, out long count, out long sums, out long counted)
    {
        count = layout.Add(1);
        sums = layout.Add(3);
        counted = layout.Add(loss.Positions);
    }
}
