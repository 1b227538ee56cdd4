using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForward"/>: attention of many query rows.</summary>
internal sealed class AttentionTiled() : GpuKernel<AttentionProblem>("attention-forward/ilgpu-tiled")
{
    private readonly Instances<float, Float32Storage, float, Float32Storage> _float32 = new();
    private readonly Instances<float, Float32Storage, ushort, Float16Storage> _float32Float16 = new();
    private readonly Instances<float, Float32Storage, ushort, BFloat16Storage> _float32BFloat16 = new();
    private readonly Instances<ushort, Float16Storage, float, Float32Storage> _float16Float32 = new();
    private readonly Instances<ushort, Float16Storage, ushort, Float16Storage> _float16 = new();
    private readonly Instances<ushort, Float16Storage, ushort, BFloat16Storage> _float16BFloat16 = new();
    private readonly Instances<ushort, BFloat16Storage, float, Float32Storage> _bfloat16Float32 = new();
    private readonly Instances<ushort, BFloat16Storage, ushort, Float16Storage> _bfloat16Float16 = new();
    private readonly Instances<ushort, BFloat16Storage, ushort, BFloat16Storage> _bfloat16 = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries =>
    [
        .. _float32.Entries, .. _float32Float16.Entries, .. _float32BFloat16.Entries,
        .. _float16Float32.Entries, .. _float16.Entries, .. _float16BFloat16.Entries,
        .. _bfloat16Float32.Entries, .. _bfloat16Float16.Entries, .. _bfloat16.Entries,
    ];

    /// <inheritdoc/>
    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        switch (problem.Type, problem.KvType)
        {
            case (DataType.Float32, DataType.Float32):
                _float32.Launch(problem, operands, device);
                break;
            case (DataType.Float32, DataType.Float16):
                _float32Float16.Launch(problem, operands, device);
                break;
            case (DataType.Float32, _):
                _float32BFloat16.Launch(problem, operands, device);
                break;
            case (DataType.Float16, DataType.Float32):
                _float16Float32.Launch(problem, operands, device);
                break;
            case (DataType.Float16, DataType.Float16):
                _float16.Launch(problem, operands, device);
                break;
            case (DataType.Float16, _):
                _float16BFloat16.Launch(problem, operands, device);
                break;
            case (_, DataType.Float32):
                _bfloat16Float32.Launch(problem, operands, device);
                break;
            case (_, DataType.Float16):
                _bfloat16Float16.Launch(problem, operands, device);
                break;
            default:
                _bfloat16.Launch(problem, operands, device);
                break;
        }
    }

    /// <summary>The three tiles for one pair of storages.</summary>
    private sealed class Instances<TQuery, TQueryStorage, TKv, TKvStorage>
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile64 = Entry<FlashTile64>();
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile128 = Entry<FlashTile128>();
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile256 = Entry<FlashTile256>();

        public IEnumerable<GpuEntry> Entries => [_tile64, _tile128, _tile256];

        public void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
        {
            if (problem.ValueHeadDim <= 64)
                Launch<FlashTile64>(_tile64, problem, operands, device);
            else if (problem.ValueHeadDim <= 128)
                Launch<FlashTile128>(_tile128, problem, operands, device);
            else
                Launch<FlashTile256>(_tile256, problem, operands, device);
        }

        private static void Launch<TTile>(
            GpuEntry<FlashForward.Parameters<TQuery, TKv>> entry, in AttentionProblem problem, ReadOnlySpan<GpuView> operands, GpuDevice device)
            where TTile : struct, IFlashTile
        {
            int blockM = 8 * TTile.ThreadsY;
            int queryBlocks = (int)(((long)problem.QueryLength + blockM - 1) / blockM);
            GpuView lse = operands[AttentionProblem.Lse], output = operands[AttentionProblem.Output];
            device.Launch(entry, (long)queryBlocks * problem.NumHeads * problem.BatchSize, new FlashForward.Parameters<TQuery, TKv>
            {
                Query = operands[AttentionProblem.Query].AsTokens<TQuery>(),
                Key = operands[AttentionProblem.Key].AsTokens<TKv>(),
                Value = operands[AttentionProblem.Value].AsTokens<TKv>(),
                Output = output.AsTokens<TQuery>(),
                Lse = (lse.IsPresent ? lse : output).As<float>(),
                LseBatchStride = lse.IsPresent ? lse.Layout.Stride(0) : 0,
                LseHeadStride = lse.IsPresent ? lse.Layout.Stride(1) : 0,
                HasLse = lse.IsPresent ? 1 : 0,
                IsCausal = problem.IsCausal ? 1 : 0,
                NumHeads = problem.NumHeads,
                GroupSize = problem.GroupSize,
                QueryLength = problem.QueryLength,
                KvLength = problem.KvLength,
                HeadDim = problem.HeadDim,
                ValueHeadDim = problem.ValueHeadDim,
                QueryBlocks = queryBlocks,
                SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
            });
        }

        private static GpuEntry<FlashForward.Parameters<TQuery, TKv>> Entry<TTile>() where TTile : struct, IFlashTile => new(
            FlashForward.FlashAttentionForward<TTile, TQuery, TQueryStorage, TKv, TKvStorage>, TTile.ThreadsX * TTile.ThreadsY,
            16 * (TransposedTile.Depth * (2 * TTile.ThreadsY + TTile.ThreadsX) + 8 * TTile.ThreadsX * TTile.ThreadsY));
    }
}
