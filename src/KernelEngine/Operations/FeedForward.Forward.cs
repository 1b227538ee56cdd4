using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.FeedForward;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class FeedForward
{
    /// <summary>The layer.</summary>
    public static Operation<FeedForwardProblem> ForwardOperation { get; } = new(
        "feed-forward-forward", "a feed-forward layer, dense or with blocks of which each token uses some: ReLU, GELU or SwiGLU",
        new FeedForwardReference<double>("feed-forward-forward/reference", DeviceKinds.Reference),
        new FeedForwardReference<float>("feed-forward-forward/plain", DeviceKinds.Cpu),
        new RoutedForward<Simd512, Vector512<float>>(),
        new RoutedForward<Simd256, Vector256<float>>(),
        new RoutedForward<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new FeedForwardGrouped()] : [],
        Examples =
        [
            "t=1 d=1 f=1", "t=7 d=33 f=20 g=4 active=2 act=relu gating=post upbias downbias", "t=40 d=64 f=160 g=2 active=1 act=swiglu gating=post bf16",
            "t=12 d=20 f=70 g=7 active=3 f16 w=f32", "t=0 d=8 f=8 g=2 active=1", "t=3 d=8 f=0 downbias", "t=3 d=0 f=8 upbias",
        ],
        Benchmarks =
        [
            "t=2048 d=1024 f=4096 act=relu", "t=2048 d=1024 f=4096 g=4 active=2 act=relu gating=post",
            "t=2048 d=1024 f=4096 g=4 active=2 act=swiglu bf16",
        ],
    };

    /// <summary>Computes the layer: <see cref="FeedForwardProblem"/> says what that is.</summary>
    /// <param name="hidden">[tokens, hiddenSize], f32, f16 or bf16</param>
    /// <param name="weights">The weights.</param>
    /// <param name="output">[tokens, hiddenSize], stored as the hidden rows, written</param>
    /// <param name="activation">What comes between the products; SwiGLU has a gate weight and the others have none.</param>
    /// <param name="routing">Which blocks each token uses; the default is a dense layer.</param>
    /// <param name="units">
    /// Optional [tokens, activeBlocks, innerSize / blocks] (with SwiGLU twice as long), stored as the hidden rows, written: given to
    /// <see cref="Backward"/>, it saves the first product.
    /// </param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or (on the host) selected blocks do not ascend.</exception>
    public static void Forward(
        TensorView hidden, in FeedForwardWeights weights, TensorView output, FeedForwardActivation activation = FeedForwardActivation.Gelu,
        in FeedForwardRouting routing = default, TensorView units = default)
    {
        FeedForwardProblem problem = Problem(hidden, weights, activation, routing);
        hidden.Storage!.Device.Run(
            ForwardOperation, problem,
            [hidden, weights.Up, weights.Gate, weights.Down, weights.UpBias, weights.DownBias, routing.Selected, routing.Gates, output, units]);
    }

    private static FeedForwardProblem Problem(
        in TensorView hidden, in FeedForwardWeights weights, FeedForwardActivation activation, in FeedForwardRouting routing)
    {
        Shapes.RequireRank(hidden, 2, nameof(hidden));
        Shapes.RequireRank(weights.Up, 2, nameof(weights) + "." + nameof(weights.Up));
        bool isRouted = routing.Blocks != 0 || routing.Selected.IsPresent;
        return new FeedForwardProblem(
            Shapes.Size(hidden, 0, nameof(hidden)), Shapes.Size(hidden, 1, nameof(hidden)), Shapes.Size(weights.Up, 0, nameof(weights)),
            isRouted ? routing.Blocks : 1, isRouted ? ActiveBlocks(routing.Selected) : 1, activation,
            routing.Gates.IsPresent ? FeedForwardGating.Post : FeedForwardGating.None, hidden.Type, weights.Up.Type)
        {
            HasUpBias = weights.UpBias.IsPresent,
            HasDownBias = weights.DownBias.IsPresent,
        };
    }
}
