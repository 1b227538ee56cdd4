using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.CrossEntropy;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// Cut Cross-Entropy (Wijmans et al. 2024, arXiv:2411.09009): the loss of a linear classifier over a large vocabulary, and its
/// gradients, without the matrix of logits.
/// </summary>
public static partial class CrossEntropy
{
    /// <summary>The loss.</summary>
    public static Operation<CrossEntropyProblem> ForwardOperation { get; } = new(
        "cross-entropy-forward", "loss and log-sum-exp of hidden · classifierᵀ + bias, or a shard's part of them, without the logits",
        new CrossEntropyReference<double>("cross-entropy-forward/reference", DeviceKinds.Reference),
        new CrossEntropyReference<float>("cross-entropy-forward/plain", DeviceKinds.Cpu),
        new CutCrossEntropy<Simd512, Vector512<float>>(),
        new CutCrossEntropy<Simd256, Vector256<float>>(),
        new CutCrossEntropy<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new CrossEntropyWgmma(), new CrossEntropyMma(), new CrossEntropyTiled()] : [],
        Examples =
        [
            "n=1 v=1 d=1", "n=5 v=257 d=64", "n=33 v=100 d=200 bias softcap=20 bf16", "n=12 v=130 d=33 seq=6 shift=1 none f16",
            "n=20 v=70 d=16 smoothing=0.1 zloss=0.001 classweights tokenweights sum", "n=7 v=90 d=20 shard=40 first=30",
        ],
        Benchmarks = ["n=1024 v=49152 d=576", "n=2048 v=50257 d=768", "n=512 v=128256 d=2048"],
    };

    /// <summary>Computes the loss, and what else is asked for, in one pass over the classifier.</summary>
    /// <param name="hidden">f32, f16 or bf16 [rows, hiddenSize], or [batchSize, sequenceLength, hiddenSize]</param>
    /// <param name="classifier">[vocabSize, hiddenSize], stored as hidden: a row a class</param>
    /// <param name="targets">i32, as many as rows and shaped as they: labels, or the ignored index</param>
    /// <param name="outputs">Where results go.</param>
    /// <param name="options">Null for the mean loss.</param>
    /// <param name="inputs">Optional tensors: bias, weights, divisor.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, an option is out of range, or (on the
    /// host) a label is no class.</exception>
    public static void Forward(
        TensorView hidden, TensorView classifier, TensorView targets, in CrossEntropyOutputs outputs, CrossEntropyOptions? options = null,
        in CrossEntropyInputs inputs = default)
    {
        CrossEntropyProblem problem = CreateProblem(ref hidden, classifier, ref targets, options, inputs, null);
        hidden.Storage!.Device.Run(ForwardOperation, problem, [
            hidden, classifier, inputs.Bias, targets, inputs.ClassWeights, inputs.TokenWeights, inputs.Divisor, outputs.Loss, outputs.ZLoss,
            outputs.Lse, outputs.LogProbability, outputs.Entropy, outputs.BestClass, outputs.Accuracy, outputs.MeanLogit]);
    }

    /// <summary>
    /// Computes what the rows of one shard of the vocabulary add to the loss: a state of each position, which <see cref="Merge"/>
    /// combines with those of the other shards, on this machine or after any exchange between several.
    /// </summary>
    /// <param name="hidden">As for <see cref="Forward"/>, the same for each shard.</param>
    /// <param name="classifier">[shardSize, hiddenSize]; a shard may be empty</param>
    /// <param name="targets">i32 labels among all classes</param>
    /// <param name="shard">Which classes these are.</param>
    /// <param name="state">f32 [positions, 5], written</param>
    /// <param name="bestClass">Optional i32 [positions], written: the shard's most likely class.</param>
    /// <param name="options">The same for each shard.</param>
    /// <param name="inputs">The bias of this shard, the weights of all classes.</param>
    /// <param name="meanLogit">Optional f32 [shardSize], written.</param>
    /// <exception cref="ArgumentException">As for <see cref="Forward"/>, or the shard's classes leave the vocabulary.</exception>
    public static void ForwardShard(
        TensorView hidden, TensorView classifier, TensorView targets, CrossEntropyShard shard, TensorView state, TensorView bestClass = default,
        CrossEntropyOptions? options = null, in CrossEntropyInputs inputs = default, TensorView meanLogit = default)
    {
        CrossEntropyProblem problem = CreateProblem(ref hidden, classifier, ref targets, options, inputs, shard);
        hidden.Storage!.Device.Run(ForwardOperation, problem, [
            hidden, classifier, inputs.Bias, targets, inputs.ClassWeights, inputs.TokenWeights, default, default, default,
            default, default, default, bestClass, default, meanLogit, state]);
    }

    private static CrossEntropyProblem CreateProblem(
        ref TensorView hidden, in TensorView classifier, ref TensorView targets, CrossEntropyOptions? options, in CrossEntropyInputs inputs,
        CrossEntropyShard? shard)
    {
        options ??= CrossEntropyOptions.Default;
        int sequenceLength = options.SequenceLength;
        if (hidden is { IsPresent: true, Layout.Rank: 3 })
        {
            sequenceLength = Shapes.Size(hidden, 1, nameof(hidden));
            hidden = hidden.Join(0);
            if (targets is { IsPresent: true, Layout.Rank: 2 })
                targets = targets.Join(0);
        }
        Shapes.RequireRank(hidden, 2, nameof(hidden));
        Shapes.RequireRank(classifier, 2, nameof(classifier));
        int vocabSize = Shapes.Size(classifier, 0, nameof(classifier));
        var loss = CreateLoss(Shapes.Size(hidden, 0, nameof(hidden)), shard?.Classes ?? vocabSize, options, inputs) with { SequenceLength = sequenceLength };
        return new CrossEntropyProblem(loss, Shapes.Size(hidden, 1, nameof(hidden)), hidden.Type)
        {
            HasBias = inputs.Bias.IsPresent,
            BiasType = inputs.Bias.IsPresent ? inputs.Bias.Type : DataType.Float32,
            LogitSoftCap = options.LogitSoftCap,
            Temperature = options.Temperature,
            ShardSize = shard is null ? -1 : vocabSize,
            FirstClass = shard?.FirstClass ?? 0,
        };
    }

    private static CrossEntropyLoss CreateLoss(int rows, int classes, CrossEntropyOptions options, in CrossEntropyInputs inputs) => new(rows, classes)
    {
        SequenceLength = options.SequenceLength,
        Shift = options.Shift,
        IgnoreIndex = options.IgnoreIndex,
        LabelSmoothing = options.LabelSmoothing,
        ZLoss = options.ZLoss,
        HasClassWeights = inputs.ClassWeights.IsPresent,
        HasTokenWeights = inputs.TokenWeights.IsPresent,
        Reduction = options.Reduction,
        IsEmptyNaN = options.IsEmptyNaN,
    };
}
