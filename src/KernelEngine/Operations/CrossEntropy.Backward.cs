using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.CrossEntropy;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class CrossEntropy
{
    /// <summary>The gradients of the loss.</summary>
    public static Operation<CrossEntropyBackwardProblem> BackwardOperation { get; } = new(
        "cross-entropy-backward", "gradients of cross-entropy: of hidden rows, classifier and bias, without the logits",
        new CrossEntropyBackwardReference<double>("cross-entropy-backward/reference", DeviceKinds.Reference),
        new CrossEntropyBackwardReference<float>("cross-entropy-backward/plain", DeviceKinds.Cpu),
        new CutCrossEntropyBackward<Simd512, Vector512<float>>(),
        new CutCrossEntropyBackward<Simd256, Vector256<float>>(),
        new CutCrossEntropyBackward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new CrossEntropyBackwardWgmma(), new CrossEntropyBackwardMma(), new CrossEntropyBackwardTiled()] : [],
        Examples =
        [
            "n=1 v=1 d=1", "n=5 v=257 d=64 gradlse", "n=33 v=100 d=100 bias softcap=20 bf16", "n=12 v=130 d=33 seq=6 shift=1 none f16",
            "n=20 v=70 d=16 smoothing=0.1 zloss=0.001 classweights tokenweights sum gradentropy", "n=7 v=90 d=20 shard=40 first=30 bias order",
        ],
        Benchmarks = ["n=1024 v=49152 d=576", "n=2048 v=50257 d=768", "n=512 v=128256 d=2048"],
    };

    /// <summary>
    /// Computes the gradients from a forward pass's inputs and its log-sum-exp. Sums are float32; the same inputs give the same bits
    /// on every run with the same number of threads.
    /// </summary>
    /// <param name="hidden">As for <see cref="Forward"/>.</param>
    /// <param name="classifier">As for <see cref="Forward"/>, or one shard of the vocabulary.</param>
    /// <param name="targets">As for <see cref="Forward"/>.</param>
    /// <param name="lse">f32 [positions], as <see cref="Forward"/> (or, for shards, <see cref="Merge"/>) wrote it</param>
    /// <param name="gradients">The gradients wanted, written.</param>
    /// <param name="options">Those of the forward pass, and the filter.</param>
    /// <param name="inputs">Those of the forward pass.</param>
    /// <param name="upstream">The gradients of loss, log-sum-exp and entropies.</param>
    /// <param name="order">
    /// Optional i32 [vocabSize]: the order in which a filter sees the classes, each once. Sorted by mean logit, unlikely classes come
    /// together, and more tiles are left out.
    /// </param>
    /// <param name="shard">Which classes the classifier's rows are, where it is a shard; its gradient of the hidden rows is one addend.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or (on the host) a label is no class.</exception>
    public static void Backward(
        TensorView hidden, TensorView classifier, TensorView targets, TensorView lse, in CrossEntropyGradients gradients,
        CrossEntropyOptions? options = null, in CrossEntropyInputs inputs = default, in CrossEntropyUpstream upstream = default,
        TensorView order = default, CrossEntropyShard? shard = null)
    {
        TensorView gradHidden = gradients.Hidden;
        if (gradHidden is { IsPresent: true, Layout.Rank: 3 })
            gradHidden = gradHidden.Join(0);
        CrossEntropyProblem forward = CreateProblem(ref hidden, classifier, ref targets, options, inputs, shard);
        var problem = new CrossEntropyBackwardProblem(forward)
        {
            HasGradLse = upstream.Lse.IsPresent,
            HasGradEntropy = upstream.GradEntropy.IsPresent,
            FilterEpsilon = options?.Filter?.Epsilon ?? 0,
            IsHiddenFull = options?.Filter is { FiltersHidden: false },
            IsClassifierFull = options?.Filter is { FiltersClassifier: false },
            HasOrder = order.IsPresent,
        };
        hidden.Storage!.Device.Run(BackwardOperation, problem, [
            hidden, classifier, inputs.Bias, targets, inputs.ClassWeights, inputs.TokenWeights, inputs.Divisor, lse, upstream.Entropy,
            upstream.Loss, upstream.Lse, upstream.GradEntropy, order, gradHidden, gradients.Classifier, gradients.Bias]);
    }
}
