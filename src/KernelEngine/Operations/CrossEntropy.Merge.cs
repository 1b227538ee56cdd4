using KernelEngine.Kernels.Cpu.CrossEntropy;

namespace KernelEngine;

public static partial class CrossEntropy
{
    /// <summary>The merge of the states of the shards of a vocabulary.</summary>
    public static Operation<CrossEntropyMergeProblem> MergeOperation { get; } = new(
        "cross-entropy-merge", "loss from the partial states of the shards of a vocabulary, or one state of them",
        new CrossEntropyMerge<double>("cross-entropy-merge/reference", DeviceKinds.Reference),
        new CrossEntropyMerge<float>("cross-entropy-merge/plain", DeviceKinds.Cpu),
        new CrossEntropyMerge<float>("cross-entropy-merge/cpu", DeviceKinds.Cpu))
    {
        GpuKernels = GpuDevices.AreIncluded ? [new CrossEntropyMergeRows()] : [],
        Examples = ["n=1 v=1 parts=1", "n=40 v=100 parts=3 smoothing=0.1 zloss=0.01 classweights tokenweights", "n=12 v=9 parts=2 seq=4 shift=1 none"],
        Benchmarks = ["n=65536 v=128256 parts=8"],
    };

    /// <summary>Merges the states of all shards and computes the loss, or merges some of them into one state.</summary>
    /// <param name="states">f32 [parts, positions, 5], as <see cref="ForwardShard"/> wrote each part</param>
    /// <param name="bestClasses">Optional i32 [parts, positions]; needed where the most likely class or the accuracy is wanted.</param>
    /// <param name="targets">i32 [rows], or [batchSize, sequenceLength]</param>
    /// <param name="classes">Size of the whole vocabulary.</param>
    /// <param name="outputs">Where results go; a mean logit is the shards' own.</param>
    /// <param name="options">Those of the shards.</param>
    /// <param name="inputs">Those of the shards, and the divisor.</param>
    /// <param name="state">Optional f32 [positions, 5], written: the merged state.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or (on the host) a label is no class.</exception>
    public static void Merge(
        TensorView states, TensorView bestClasses, TensorView targets, int classes, in CrossEntropyOutputs outputs,
        CrossEntropyOptions? options = null, in CrossEntropyInputs inputs = default, TensorView state = default)
    {
        options ??= CrossEntropyOptions.Default;
        Shapes.RequireRank(states, 3, nameof(states));
        int sequenceLength = options.SequenceLength;
        if (targets is { IsPresent: true, Layout.Rank: 2 })
        {
            sequenceLength = Shapes.Size(targets, 1, nameof(targets));
            targets = targets.Join(0);
        }
        Shapes.RequireRank(targets, 1, nameof(targets));
        CrossEntropyLoss loss = CreateLoss(Shapes.Size(targets, 0, nameof(targets)), classes, options, inputs) with { SequenceLength = sequenceLength };
        states.Storage!.Device.Run(MergeOperation, new CrossEntropyMergeProblem(loss, Shapes.Size(states, 0, nameof(states))), [
            states, bestClasses, default, targets, inputs.ClassWeights, inputs.TokenWeights, inputs.Divisor, outputs.Loss, outputs.ZLoss,
            outputs.Lse, outputs.LogProbability, outputs.Entropy, outputs.BestClass, outputs.Accuracy, outputs.MeanLogit, state]);
    }
}
