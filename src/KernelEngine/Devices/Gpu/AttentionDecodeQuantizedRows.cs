using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="QuantizedDecode"/>.</summary>
internal sealed class AttentionDecodeQuantizedRows() : GpuKernel<AttentionDecodeQuantizedProblem>("attention-decode-quantized/ilgpu")
{
    private readonly GpuEntry<QuantizedDecode.Parameters<float>> _float32 = Entry<float, Float32Storage>();
    private readonly GpuEntry<QuantizedDecode.Parameters<ushort>> _float16 = Entry<ushort, Float16Storage>();
    private readonly GpuEntry<QuantizedDecode.Parameters<ushort>> _bfloat16 = Entry<ushort, BFloat16Storage>();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_float32, _float16, _bfloat16];

    /// <inheritdoc/>
    public override void Launch(
        in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        if (problem.Type == DataType.Float32)
            Launch(_float32, problem, operands, device);
        else
            Launch(problem.Type == DataType.Float16 ? _float16 : _bfloat16, problem, operands, device);
    }

    private static void Launch<T>(
        GpuEntry<QuantizedDecode.Parameters<T>> entry, in AttentionDecodeQuantizedProblem problem, ReadOnlySpan<GpuView> operands,
        GpuDevice device)
        where T : unmanaged
    {
        GpuView table = operands[AttentionDecodeQuantizedProblem.PageTable], lengths = operands[AttentionDecodeQuantizedProblem.KvLengths];
        GpuView lse = operands[AttentionDecodeQuantizedProblem.Lse];
        device.Launch(entry, (long)problem.BatchSize * problem.NumHeads * problem.QueryLength, new QuantizedDecode.Parameters<T>
        {
            Query = operands[AttentionDecodeQuantizedProblem.Query].AsTokens<T>(),
            Output = operands[AttentionDecodeQuantizedProblem.Output].AsTokens<T>(),
            PageTable = table.As<int>(),
            KvLengths = lengths.As<int>(),
            Codes = KvCodePools.Create(operands, AttentionDecodeQuantizedProblem.KeyCodes, problem.Bits),
            Lse = lse.As<float>(),
            TableBatchStride = table.Layout.Stride(0),
            TableHeadStride = table.Layout.Stride(1),
            LengthBatchStride = lengths.Layout.Stride(0),
            LseBatchStride = lse.Layout.Stride(0),
            LseHeadStride = lse.Layout.Stride(1),
            NumHeads = problem.NumHeads,
            GroupSize = problem.GroupSize,
            QueryLength = problem.QueryLength,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
            Scale = problem.Scale,
        });
    }

    private static GpuEntry<QuantizedDecode.Parameters<T>> Entry<T, TStorage>() where T : unmanaged where TStorage : struct, IStorage<T> =>
        new(QuantizedDecode.Attend<T, TStorage>, QuantizedDecode.Threads, QuantizedDecode.SharedBytes, hasQuadLoads: false);
}
