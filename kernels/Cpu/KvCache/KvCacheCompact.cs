using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Moves kept rows together (<see cref="KvCacheCompactProblem"/>), from the lowest slot up. Threads own the keys or the values of whole
/// cells, so that the order holds; rows already in their place stay. Bytes are copied, whatever they store. Workspace: none.
/// </summary>
public sealed unsafe class KvCacheCompact() : CpuKernel<KvCacheCompactProblem>("kv-cache-compact/cpu")
{
    /// <inheritdoc/>
    public override void Run(in KvCacheCompactProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Cells = problem.Cells,
            PageSize = problem.PageSize,
            Key = operands[KvCacheCompactProblem.Key],
            Value = operands[KvCacheCompactProblem.Value],
            KeyScale = operands[KvCacheCompactProblem.KeyScale],
            ValueScale = operands[KvCacheCompactProblem.ValueScale],
            PageTable = operands[KvCacheCompactProblem.PageTable],
            Kept = operands[KvCacheCompactProblem.Kept],
            KeptCounts = operands[KvCacheCompactProblem.KeptCounts],
        };
        RowParallel.Run(ref body, (int)Math.Min(2L * problem.Cells, int.MaxValue),
            problem.Slots * ((long)problem.HeadDim + problem.ValueHeadDim), workers);
    }

    private struct Body : IParallelBody
    {
        public int Cells, PageSize;
        public RawView Key, Value, KeyScale, ValueScale, PageTable, Kept, KeptCounts;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(2L * Cells, worker, workers);
            for (long i = first; i < last; i++)
            {
                RawView rows = i % 2 == 0 ? Key : Value, scales = i % 2 == 0 ? KeyScale : ValueScale;
                int size = rows.Type.SizeInBytes();
                Move((int)(i / 2), (byte*)rows.Data, rows.Layout.Stride(0) * size, rows.Layout.Stride(1) * size, rows.Layout[3] * size);
                if (scales.IsPresent)
                    Move((int)(i / 2), (byte*)scales.Data, scales.Layout.Stride(0) * sizeof(float), sizeof(float), sizeof(float));
            }
        }

        private readonly void Move(int cell, byte* data, long pageBytes, long rowBytes, long bytes)
        {
            int* kept = (int*)Kept.Address(cell), pages = (int*)PageTable.Address(cell);
            int count = KeptCounts.ReadInt32(cell);
            for (int j = 0, run; j < count; j += run)
            {
                // Slots that follow one another, within a page here and there, are one copy.
                (int page, int row) = Math.DivRem(kept[j], PageSize);
                (int targetPage, int targetRow) = Math.DivRem(j, PageSize);
                int most = rowBytes == bytes ? Math.Min(count - j, PageSize - Math.Max(row, targetRow)) : 1;
                for (run = 1; run < most && kept[j + run] == kept[j] + run;)
                    run++;
                if (kept[j] == j)
                    continue;
                byte* source = data + pages[page] * pageBytes + row * rowBytes, target = data + pages[targetPage] * pageBytes + targetRow * rowBytes;
                Buffer.MemoryCopy(source, target, run * bytes, run * bytes);
            }
        }
    }
}
