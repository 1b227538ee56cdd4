using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Compaction by its definition (<see cref="KvCacheCompactProblem"/>): copy all kept rows of a cell out, then back to their new places,
/// element by element. It computes nothing and is its own plain computation. Workspace: one cell's rows.
/// </summary>
public sealed unsafe class KvCacheCompactReference(string name, DeviceKinds device) : CpuKernel<KvCacheCompactProblem>(name, device)
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheCompactProblem problem, int threads) =>
        (long)problem.Slots * Math.Max(sizeof(float), Math.Max(problem.HeadDim, problem.ValueHeadDim) * (long)problem.Type.SizeInBytes());

    /// <inheritdoc/>
    public override void Run(in KvCacheCompactProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        foreach (int pool in (ReadOnlySpan<int>)[KvCacheCompactProblem.Key, KvCacheCompactProblem.Value, KvCacheCompactProblem.KeyScale,
            KvCacheCompactProblem.ValueScale])
        {
            for (int c = 0; operands[pool].IsPresent && c < problem.Cells; c++)
            {
                bool isScale = operands[pool].Layout.Rank == 3;
                long bytes = operands[pool].Type.SizeInBytes() * (isScale ? 1 : operands[pool].Layout[3]);
                int count = operands[KvCacheCompactProblem.KeptCounts].ReadInt32(c);
                for (int j = 0; j < count; j++)
                {
                    byte* source = Row(operands, pool, c, operands[KvCacheCompactProblem.Kept].ReadInt32(c, j), problem.PageSize);
                    for (long i = 0; i < bytes; i++)
                        ((byte*)workspace)[j * bytes + i] = source[i];
                }
                for (int j = 0; j < count; j++)
                {
                    byte* target = Row(operands, pool, c, j, problem.PageSize);
                    for (long i = 0; i < bytes; i++)
                        target[i] = ((byte*)workspace)[j * bytes + i];
                }
            }
        }
    }

    private static byte* Row(ReadOnlySpan<RawView> operands, int pool, int cell, int slot, int pageSize)
    {
        int page = operands[KvCacheCompactProblem.PageTable].ReadInt32(cell, slot / pageSize), row = slot % pageSize;
        return operands[pool].Layout.Rank == 3 ? operands[pool].Address(page, 0, row) : operands[pool].Address(page, row);
    }
}
