using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.FeedForward;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// The feed-forward layer of a transformer, dense or routed: its inner units in blocks of which each token uses some
/// (arXiv:2312.10365), with a router that learns which.
/// </summary>
public static partial class FeedForward
{
    /// <summary>The router.</summary>
    public static Operation<FeedForwardRouteProblem> RouteOperation { get; } = new(
        "feed-forward-route", "the blocks of a routed feed-forward layer that each token uses, their gates and counts, and the balance loss",
        new FeedForwardRouteReference<double>("feed-forward-route/reference", DeviceKinds.Reference),
        new FeedForwardRouteReference<float>("feed-forward-route/plain", DeviceKinds.Cpu),
        new RouteTokens<Simd512, Vector512<float>>(),
        new RouteTokens<Simd256, Vector256<float>>(),
        new RouteTokens<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new FeedForwardRouter()] : [],
        Examples =
        [
            "t=1 d=1 g=1 active=1", "t=7 d=33 g=4 active=2 bias balance=0.01", "t=65 d=64 g=8 active=1 bf16", "t=12 d=130 g=5 active=5 balance=1 f16",
            "t=0 d=8 g=4 active=2 balance=0.01",
        ],
        Benchmarks = ["t=2048 d=1024 g=4 active=2 bias balance=0.01", "t=2048 d=1024 g=64 active=8 balance=0.01"],
    };

    /// <summary>Selects the blocks of each token: <see cref="FeedForwardRouteProblem"/> says how.</summary>
    /// <param name="hidden">[tokens, hiddenSize], f32, f16 or bf16</param>
    /// <param name="weight">f32 [blocks, hiddenSize]</param>
    /// <param name="selected">i32 [tokens, activeBlocks], written: the blocks with the largest gates, in ascending order</param>
    /// <param name="gates">f32 [tokens, blocks], written: all of them, which a backward pass needs</param>
    /// <param name="counts">i32 [blocks], written: how many tokens use each block</param>
    /// <param name="bias">Optional f32 [blocks].</param>
    /// <param name="balanceLoss">f32 [1], written; only with a <paramref name="balanceWeight"/>.</param>
    /// <param name="balanceWeight">α, about 0.01; 0 for no balance loss.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void Route(
        TensorView hidden, TensorView weight, TensorView selected, TensorView gates, TensorView counts, TensorView bias = default,
        TensorView balanceLoss = default, float balanceWeight = 0f)
    {
        FeedForwardRouteProblem problem = RouteProblem(hidden, weight, bias, ActiveBlocks(selected), balanceWeight);
        hidden.Storage!.Device.Run(RouteOperation, problem, [hidden, weight, bias, selected, gates, counts, balanceLoss]);
    }

    private static FeedForwardRouteProblem RouteProblem(
        in TensorView hidden, in TensorView weight, in TensorView bias, int activeBlocks, float balanceWeight)
    {
        Shapes.RequireRank(hidden, 2, nameof(hidden));
        Shapes.RequireRank(weight, 2, nameof(weight));
        return new FeedForwardRouteProblem(
            Shapes.Size(hidden, 0, nameof(hidden)), Shapes.Size(hidden, 1, nameof(hidden)), Shapes.Size(weight, 0, nameof(weight)), activeBlocks, hidden.Type)
        {
            HasBias = bias.IsPresent,
            BalanceWeight = balanceWeight,
        };
    }

    private static int ActiveBlocks(in TensorView selected)
    {
        Shapes.RequireRank(selected, 2, nameof(selected));
        return Shapes.Size(selected, 1, nameof(selected));
    }
}
