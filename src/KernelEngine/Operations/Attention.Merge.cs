using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Attention;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class Attention
{
    /// <summary>Attention over two sets of keys from attention over each.</summary>
    public static Operation<AttentionMergeProblem> MergeOperation { get; } = new(
        "attention-merge", "merges the outputs and log-sum-exps of attention over two sets of keys, in place",
        new AttentionMergeReference<double>("attention-merge/reference", DeviceKinds.Reference),
        new AttentionMergeReference<float>("attention-merge/plain", DeviceKinds.Cpu),
        new AttentionMerge<Simd512, Vector512<float>>(),
        new AttentionMerge<Simd256, Vector256<float>>(),
        new AttentionMerge<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new AttentionMergeRows()] : [],
        Examples = ["q=1 d=1", "b=2 h=6 q=3 d=40", "h=3 q=5 d=67 bf16", "h=2 q=33 d=128 f16 othertype=f32", "q=0 d=8"],
        Benchmarks = ["h=32 q=1 d=128", "h=32 q=512 d=128", "h=32 q=512 d=128 bf16"],
    };

    /// <summary>
    /// Merges attention over other keys into attention over some: afterwards output and lse are those over all of them. Sinks
    /// must have taken part in one of the two only.
    /// </summary>
    /// <param name="output">[batchSize, queryLength, numHeads, valueHeadDim], overwritten</param>
    /// <param name="lse">f32 [batchSize, numHeads, queryLength], overwritten; −∞ where a row saw no key</param>
    /// <param name="otherOutput">[batchSize, queryLength, numHeads, valueHeadDim]</param>
    /// <param name="otherLse">f32 [batchSize, numHeads, queryLength]</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another, or operands overlap.</exception>
    public static void Merge(TensorView output, TensorView lse, TensorView otherOutput, TensorView otherLse)
    {
        Shapes.RequireRank(output, 4, nameof(output));
        Shapes.RequireRank(otherOutput, 4, nameof(otherOutput));
        var problem = new AttentionMergeProblem(
            Shapes.Size(output, 0, nameof(output)), Shapes.Size(output, 2, nameof(output)), Shapes.Size(output, 1, nameof(output)),
            Shapes.Size(output, 3, nameof(output)), output.Type, otherOutput.Type);
        output.Storage!.Device.Run(MergeOperation, problem, [output, lse, otherOutput, otherLse]);
    }
}
