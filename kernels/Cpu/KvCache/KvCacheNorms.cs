using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Norms of stored rows (<see cref="KvCacheNormsProblem"/>). A task is one page of one cell, its keys and its values. Workspace: none.
/// </summary>
public sealed unsafe class KvCacheNorms<TSimd, TVector>() : CpuKernel<KvCacheNormsProblem>($"kv-cache-norms/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in KvCacheNormsProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            PageSize = problem.PageSize,
            Pages = problem.Slots / problem.PageSize,
            Cells = problem.Cells,
            Key = operands[KvCacheNormsProblem.Key],
            Value = operands[KvCacheNormsProblem.Value],
            KeyScale = operands[KvCacheNormsProblem.KeyScale],
            ValueScale = operands[KvCacheNormsProblem.ValueScale],
            KeyNorms = operands[KvCacheNormsProblem.KeyNorms],
            ValueNorms = operands[KvCacheNormsProblem.ValueNorms],
            PageTable = operands[KvCacheNormsProblem.PageTable],
            Lengths = operands[KvCacheNormsProblem.Lengths],
        };
        RowParallel.Run(
            ref body, (int)Math.Min((long)problem.Cells * body.Pages, int.MaxValue),
            problem.PageSize * ((long)problem.HeadDim + problem.ValueHeadDim), workers);
    }

    private struct Body : IParallelBody
    {
        public int PageSize, Pages, Cells;
        public RawView Key, Value, KeyScale, ValueScale, KeyNorms, ValueNorms, PageTable, Lengths;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range((long)Cells * Pages, worker, workers);
            for (long i = first; i < last; i++)
            {
                int cell = (int)(i / Pages), page = (int)(i % Pages), slot = page * PageSize;
                int count = Math.Clamp(Lengths.ReadInt32(cell) - slot, 0, PageSize);
                int stored = count > 0 ? PageTable.ReadInt32(cell, page) : 0; // what is not in use may be anything
                if (KeyNorms.IsPresent)
                    RunPage(Key, KeyScale, stored, count, (float*)KeyNorms.Address(cell) + slot);
                if (ValueNorms.IsPresent)
                    RunPage(Value, ValueScale, stored, count, (float*)ValueNorms.Address(cell) + slot);
            }
        }

        private readonly void RunPage(in RawView rows, in RawView scales, int page, int count, float* norms)
        {
            for (int row = 0; row < count; row++)
            {
                norms[row] = RowNorm<TSimd, TVector>.Of(rows.Address(page, row), rows.Type, rows.Layout[3]);
                if (scales.IsPresent)
                    norms[row] *= *(float*)scales.Address(page, 0, row);
            }
            new Span<float>(norms + count, PageSize - count).Clear();
        }
    }
}
