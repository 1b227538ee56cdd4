using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="KeyWeights"/>.</summary>
internal sealed class AttentionWeightsKeys() : GpuKernel<AttentionWeightsProblem>("attention-weights/ilgpu")
{
    private readonly GpuEntry<KeyWeights.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<KeyWeights.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<KeyWeights.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();
    private readonly GpuEntry<KeyWeights.Parameters<sbyte>> _int8 = Entry<sbyte, Int8Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16, _int8];

    /// <inheritdoc/>
    public override void Launch(in AttentionWeightsProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (!operands[AttentionWeightsProblem.Weights].IsPresent && !operands[AttentionWeightsProblem.ColumnMass].IsPresent)
            return;
        switch (problem.Forward.KvType)
        {
            case DataType.Float32:
                Launch(_float32, problem, operands, device);
                break;
            case DataType.Int8:
                Launch(_int8, problem, operands, device);
                break;
            default:
                Launch(problem.Forward.KvType == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
                break;
        }
    }

    private static void Launch<TKv>(
        GpuEntry<KeyWeights.Parameters<TKv>> entry, in AttentionWeightsProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        where TKv : unmanaged
    {
        AttentionProblem forward = problem.Forward;
        GpuView query = operands[AttentionProblem.Query], lse = operands[AttentionProblem.Lse], keyScale = operands[AttentionProblem.KeyScale];
        GpuView weights = operands[AttentionWeightsProblem.Weights], columnMass = operands[AttentionWeightsProblem.ColumnMass];
        int keyBlocks = checked((int)AttentionArguments.Blocks(forward, forward.KvLength, KeyWeights.Threads));
        device.Launch(entry, checked((long)forward.BatchSize * forward.NumHeads * keyBlocks), new KeyWeights.Parameters<TKv>
        {
            Query = AttentionArguments.Typed(query),
            Key = operands[AttentionProblem.Key].AsTokens<TKv>(),
            Lse = lse.As<float>(),
            Weights = AttentionArguments.Or(weights, lse).As<float>(),
            ColumnMass = AttentionArguments.Or(columnMass, lse).As<float>(),
            KeyScale = AttentionArguments.Or(keyScale, lse).As<float>(),
            Scores = AttentionArguments.Scores(forward, operands),
            Cache = AttentionArguments.Cache(forward, operands),
            LseBatchStride = lse.Layout.Stride(0),
            LseHeadStride = lse.Layout.Stride(1),
            WeightBatchStride = AttentionArguments.Stride(weights, 0),
            WeightHeadStride = AttentionArguments.Stride(weights, 1),
            WeightRowStride = AttentionArguments.Stride(weights, 2),
            MassBatchStride = AttentionArguments.Stride(columnMass, 0),
            MassHeadStride = AttentionArguments.Stride(columnMass, 1),
            KeyScaleBatchStride = AttentionArguments.Stride(keyScale, 0),
            KeyScaleHeadStride = AttentionArguments.Stride(keyScale, 1),
            HasKeyScale = keyScale.IsPresent ? 1 : 0,
            HasWeights = weights.IsPresent ? 1 : 0,
            HasColumnMass = columnMass.IsPresent ? 1 : 0,
            AddsMass = problem.AddsMass ? 1 : 0,
            HeadDim = forward.HeadDim,
            FirstRow = problem.FirstRow,
            RowCount = problem.RowCount,
            KeyBlocks = keyBlocks,
        });
    }

    private static GpuEntry<KeyWeights.Parameters<TKv>> Entry<TKv, TKvStorage>() where TKv : unmanaged where TKvStorage : struct, IStorage<TKv> =>
        new(KeyWeights.WeighKeys<TKv, TKvStorage>, KeyWeights.Threads, KeyWeights.SharedBytes);
}
