using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.FeedForward;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class FeedForward
{
    /// <summary>The gradients of the router.</summary>
    public static Operation<FeedForwardRouteBackwardProblem> RouteBackwardOperation { get; } = new(
        "feed-forward-route-backward", "gradients of the router: of hidden rows, weight and bias, from those of gates and balance loss",
        new FeedForwardRouteBackwardReference<double>("feed-forward-route-backward/reference", DeviceKinds.Reference),
        new FeedForwardRouteBackwardReference<float>("feed-forward-route-backward/plain", DeviceKinds.Cpu),
        new RouteGradients<Simd512, Vector512<float>>(),
        new RouteGradients<Simd256, Vector256<float>>(),
        new RouteGradients<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new FeedForwardRouterGradients()] : [],
        Examples =
        [
            "t=1 d=1 g=1 active=1 gradgates", "t=7 d=33 g=4 active=2 bias balance=0.01 gradgates", "t=65 d=64 g=8 active=1 balance=0.1 bf16",
            "t=12 d=130 g=5 active=5 gradgates f16", "t=0 d=8 g=4 active=2 balance=0.01 bias gradgates",
        ],
        Benchmarks = ["t=2048 d=1024 g=4 active=2 bias balance=0.01 gradgates"],
    };

    /// <summary>
    /// Computes the gradients of the router: <see cref="FeedForwardRouteBackwardProblem"/> says which. The balance loss counts as an
    /// addend of the loss; where it is multiplied by something, so is <paramref name="balanceWeight"/>.
    /// </summary>
    /// <param name="hidden">As for <see cref="Route"/>.</param>
    /// <param name="weight">As for <see cref="Route"/>.</param>
    /// <param name="gates">f32 [tokens, blocks], as <see cref="Route"/> wrote them</param>
    /// <param name="activeBlocks">How many blocks a token uses.</param>
    /// <param name="gradGates">Optional f32 [tokens, blocks], as <see cref="Backward"/> wrote them.</param>
    /// <param name="counts">i32 [blocks], as <see cref="Route"/> wrote them; only with a <paramref name="balanceWeight"/>.</param>
    /// <param name="balanceWeight">α; 0 for no balance loss.</param>
    /// <param name="gradHidden">Optional, shaped and stored as the hidden rows: the router's gradient is added to what is there.</param>
    /// <param name="gradWeight">Optional f32 [blocks, hiddenSize], written.</param>
    /// <param name="gradBias">Optional f32 [blocks], written.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void RouteBackward(
        TensorView hidden, TensorView weight, TensorView gates, int activeBlocks, TensorView gradGates = default, TensorView counts = default,
        float balanceWeight = 0f, TensorView gradHidden = default, TensorView gradWeight = default, TensorView gradBias = default)
    {
        var problem = new FeedForwardRouteBackwardProblem(RouteProblem(hidden, weight, gradBias, activeBlocks, balanceWeight))
        {
            HasGradGates = gradGates.IsPresent,
        };
        hidden.Storage!.Device.Run(RouteBackwardOperation, problem, [hidden, weight, gates, counts, gradGates, gradHidden, gradWeight, gradBias]);
    }
}
