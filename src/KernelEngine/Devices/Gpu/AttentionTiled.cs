using ILGPU;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>Launches <see cref="FlashForward"/>: attention of many query rows.</summary>
internal sealed class AttentionTiled() : GpuAttentionKernel("attention-forward/ilgpu-tiled")
{
    protected override AttentionInstances Create<TQuery, TQueryStorage, TKv, TKvStorage>() =>
        new Instances<TQuery, TQueryStorage, TKv, TKvStorage>();

    private sealed class Instances<TQuery, TQueryStorage, TKv, TKvStorage> : AttentionInstances
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile64 = Entry<FlashTile64>();
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile128 = Entry<FlashTile128>();
        private readonly GpuEntry<FlashForward.Parameters<TQuery, TKv>> _tile256 = Entry<FlashTile256>();

        public override IEnumerable<GpuEntry> Entries => [_tile64, _tile128, _tile256];

        public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
        {
            if (problem.ValueHeadDim <= 8 * FlashTile64.ThreadsX)
                Launch<FlashTile64>(_tile64, problem, operands, device);
            else if (problem.ValueHeadDim <= 8 * FlashTile128.ThreadsX)
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
