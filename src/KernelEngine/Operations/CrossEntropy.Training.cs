using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.CrossEntropy;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class CrossEntropy
{
    private const string TwicePrefix = "cross-entropy-training/cpu-cut-";

    /// <summary>The loss and its gradients.</summary>
    public static Operation<CrossEntropyTrainingProblem> TrainingOperation { get; } = new(
        "cross-entropy-training", "loss and gradients of cross-entropy in one call, with logits kept where memory is allowed for them",
        new ForwardThenBackward(
            "cross-entropy-training/reference", DeviceKinds.Reference, new CrossEntropyReference<double>("", DeviceKinds.Reference),
            new CrossEntropyBackwardReference<double>("", DeviceKinds.Reference)),
        new ForwardThenBackward(
            "cross-entropy-training/plain", DeviceKinds.Cpu, new CrossEntropyReference<float>("", DeviceKinds.Cpu),
            new CrossEntropyBackwardReference<float>("", DeviceKinds.Cpu)),
        new KeptLogitsTraining<Simd512, Vector512<float>>(),
        new KeptLogitsTraining<Simd256, Vector256<float>>(),
        new KeptLogitsTraining<Simd128, Vector128<float>>(),
        Twice<Simd512, Vector512<float>>(),
        Twice<Simd256, Vector256<float>>(),
        Twice<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded
            ? [
                new CrossEntropyTwice(
                    "cross-entropy-training/cuda-wgmma", DeviceKinds.Cuda, new CrossEntropyWgmma(), new CrossEntropyBackwardWgmma()),
                new CrossEntropyTwice(
                    "cross-entropy-training/cuda-mma", DeviceKinds.Cuda, new CrossEntropyMma(), new CrossEntropyBackwardMma()),
                new CrossEntropyTwice(
                    "cross-entropy-training/ilgpu-tiled", DeviceKinds.Ilgpu, new CrossEntropyTiled(), new CrossEntropyBackwardTiled()),
            ] : [],
        Examples =
        [
            "n=1 v=1 d=1", "n=40 v=257 d=64 workspace=4", "n=33 v=100 d=100 bias softcap=20 bf16 workspace=1", "n=12 v=130 d=33 seq=6 shift=1 f16",
            "n=60 v=70 d=16 smoothing=0.1 zloss=0.001 classweights tokenweights sum workspace=1",
        ],
        Benchmarks = ["n=1024 v=49152 d=576 workspace=256", "n=2048 v=50257 d=768 workspace=256", "n=512 v=128256 d=2048 workspace=256"],
    };

    /// <summary>Computes the loss and its gradients, the loss's own gradient being 1.</summary>
    /// <param name="hidden">As for <see cref="Forward"/>.</param>
    /// <param name="classifier">As for <see cref="Forward"/>.</param>
    /// <param name="targets">As for <see cref="Forward"/>.</param>
    /// <param name="outputs">Where results go.</param>
    /// <param name="gradients">The gradients wanted, written.</param>
    /// <param name="options">Null for the mean loss. There must be a reduction; a filter is not used.</param>
    /// <param name="inputs">Optional tensors: bias, weights, divisor.</param>
    /// <param name="workspaceMiB">Scratch memory that may be used, in MiB: with some hundred of them, logits are not computed twice.</param>
    /// <exception cref="ArgumentException">As for <see cref="Forward"/>, or there is no reduction.</exception>
    public static void ForwardBackward(
        TensorView hidden, TensorView classifier, TensorView targets, in CrossEntropyOutputs outputs, in CrossEntropyGradients gradients,
        CrossEntropyOptions? options = null, in CrossEntropyInputs inputs = default, int workspaceMiB = 0)
    {
        TensorView gradHidden = gradients.Hidden;
        if (gradHidden is { IsPresent: true, Layout.Rank: 3 })
            gradHidden = gradHidden.Join(0);
        CrossEntropyProblem problem = CreateProblem(ref hidden, classifier, ref targets, options, inputs, null);
        hidden.Storage!.Device.Run(TrainingOperation, new CrossEntropyTrainingProblem(problem, workspaceMiB), [
            hidden, classifier, inputs.Bias, targets, inputs.ClassWeights, inputs.TokenWeights, inputs.Divisor, outputs.Loss, outputs.ZLoss,
            outputs.Lse, outputs.LogProbability, outputs.Entropy, outputs.BestClass, outputs.Accuracy, outputs.MeanLogit, default,
            gradHidden, gradients.Classifier, gradients.Bias]);
    }

    private static ForwardThenBackward Twice<TSimd, TVector>()
        where TSimd : struct, ISimd<TVector>
        where TVector : unmanaged =>
        new(TwicePrefix + TSimd.Name, DeviceKinds.Cpu, new CutCrossEntropy<TSimd, TVector>(), new CutCrossEntropyBackward<TSimd, TVector>());
}
