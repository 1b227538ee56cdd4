using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.FeedForward;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class FeedForward
{
    /// <summary>The gradients of the layer.</summary>
    public static Operation<FeedForwardBackwardProblem> BackwardOperation { get; } = new(
        "feed-forward-backward", "gradients of a feed-forward layer: of hidden rows, weights, biases and gates",
        new FeedForwardBackwardReference<double>("feed-forward-backward/reference", DeviceKinds.Reference),
        new FeedForwardBackwardReference<float>("feed-forward-backward/plain", DeviceKinds.Cpu),
        new RoutedBackward<Simd512, Vector512<float>>(),
        new RoutedBackward<Simd256, Vector256<float>>(),
        new RoutedBackward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new FeedForwardBackwardGrouped()] : [],
        Examples =
        [
            "t=1 d=1 f=1", "t=7 d=33 f=20 g=4 active=2 act=relu gating=post upbias downbias", "t=40 d=64 f=160 g=2 active=1 act=swiglu gating=post bf16",
            "t=12 d=20 f=70 g=7 active=3 f16 w=f32 units", "t=0 d=8 f=8 g=2 active=1 upbias downbias", "t=3 d=8 f=0 downbias", "t=3 d=0 f=8 upbias",
        ],
        Benchmarks =
        [
            "t=2048 d=1024 f=4096 act=relu units", "t=2048 d=1024 f=4096 g=4 active=2 act=relu gating=post units",
            "t=2048 d=1024 f=4096 g=4 active=2 act=swiglu bf16",
        ],
    };

    /// <summary>
    /// Computes the gradients: <see cref="FeedForwardBackwardProblem"/> says which. Sums are float32; the same inputs give the same bits
    /// on every run with the same number of threads.
    /// </summary>
    /// <param name="hidden">As for <see cref="Forward"/>.</param>
    /// <param name="weights">As for <see cref="Forward"/>.</param>
    /// <param name="gradOutput">The gradient of the output, shaped and stored as it.</param>
    /// <param name="gradients">The gradients wanted, written.</param>
    /// <param name="activation">That of the forward pass.</param>
    /// <param name="routing">That of the forward pass.</param>
    /// <param name="units">Optional: what the forward pass kept. Without it, the first product is computed again.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or (on the host) selected blocks do not ascend.</exception>
    public static void Backward(
        TensorView hidden, in FeedForwardWeights weights, TensorView gradOutput, in FeedForwardGradients gradients,
        FeedForwardActivation activation = FeedForwardActivation.Gelu, in FeedForwardRouting routing = default, TensorView units = default)
    {
        var problem = new FeedForwardBackwardProblem(Problem(hidden, weights, activation, routing)) { HasUnits = units.IsPresent };
        FeedForwardWeights wanted = gradients.Weights;
        hidden.Storage!.Device.Run(
            BackwardOperation, problem, [
                hidden, weights.Up, weights.Gate, weights.Down, weights.UpBias, default, routing.Selected, routing.Gates, units, gradOutput,
                gradients.Hidden, wanted.Up, wanted.Gate, wanted.Down, wanted.UpBias, wanted.DownBias, gradients.Gates]);
    }
}
