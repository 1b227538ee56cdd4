using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Merges slots of each cell into others (<see cref="KvCacheMergeProblem"/>). Threads own cells. The members of each slot are linked,
/// ascending, in one pass over the targets; then each slot that has some sums them up in float32. Workspace: two integers a slot for
/// each thread; 3 · 256 floats of stack.
/// </summary>
public sealed unsafe class KvCacheMerge<TSimd, TVector>() : CpuKernel<KvCacheMergeProblem>($"kv-cache-merge/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int NoSlot = -1;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheMergeProblem problem, int threads) => 2L * sizeof(int) * problem.Slots * threads;

    /// <inheritdoc/>
    public override void Run(in KvCacheMergeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Key = operands[KvCacheMergeProblem.Key],
            Value = operands[KvCacheMergeProblem.Value],
            PageTable = operands[KvCacheMergeProblem.PageTable],
            Lengths = operands[KvCacheMergeProblem.Lengths],
            Targets = operands[KvCacheMergeProblem.Targets],
            Weights = operands[KvCacheMergeProblem.Weights],
            Workspace = (int*)workspace,
        };
        workers.Run(ref body);
    }

    private struct Body : IParallelBody
    {
        public KvCacheMergeProblem Problem;
        public RawView Key, Value, PageTable, Lengths, Targets, Weights;
        public int* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            int* first = Workspace + 2L * Problem.Slots * worker, next = first + Problem.Slots;
            (long begin, long end) = Partition.Range(Problem.Cells, worker, workers);
            for (int c = (int)begin; c < end; c++)
            {
                int length = Lengths.ReadInt32(c);
                int* targets = (int*)Targets.Address(c);
                new Span<int>(first, length).Fill(NoSlot);
                for (int t = length - 1; t >= 0; t--)
                {
                    if (targets[t] < 0 || targets[t] == t)
                        continue;
                    next[t] = first[targets[t]];
                    first[targets[t]] = t;
                }
                for (int target = 0; target < length; target++)
                {
                    if (first[target] != NoSlot)
                        Merge(c, target, first[target], next);
                }
            }
        }

        private readonly void Merge(int cell, int target, int first, int* next)
        {
            float* key = stackalloc float[3 * AttentionProblem.MaxHeadDim];
            float* value = key + AttentionProblem.MaxHeadDim, row = value + AttentionProblem.MaxHeadDim;
            float* weights = (float*)Weights.Address(cell);
            float total = 0f;
            new Span<float>(key, 2 * AttentionProblem.MaxHeadDim).Clear();
            float length = AddRow(Key, cell, target, Problem.HeadDim, weights[target], Problem.IsByDirection, key, row);
            AddRow(Value, cell, target, Problem.ValueHeadDim, weights[target], false, value, row);
            total += weights[target];
            for (int t = first; t != NoSlot; t = next[t])
            {
                AddRow(Key, cell, t, Problem.HeadDim, weights[t], Problem.IsByDirection, key, row);
                AddRow(Value, cell, t, Problem.ValueHeadDim, weights[t], false, value, row);
                total += weights[t];
            }
            weights[target] = total;
            if (total == 0f)
                return;
            float sum = Problem.IsByDirection ? RowNorm<TSimd, TVector>.Of((byte*)key, DataType.Float32, Problem.HeadDim) : total;
            float factor = Problem.IsByDirection ? length : 1f;
            if (sum > 0f && factor > 0f)
                WriteRow(Key, cell, target, Problem.HeadDim, key, factor / sum);
            WriteRow(Value, cell, target, Problem.ValueHeadDim, value, 1f / total);
        }

        // Adds weight times a row, by direction one of length 1, to sums; returns the row's length when that is asked for.
        private readonly float AddRow(in RawView pool, int cell, int slot, int size, float weight, bool isByDirection, float* sums, float* row)
        {
            Rows<TSimd, TVector>.Widen(Address(pool, cell, slot), Problem.Type, size, row);
            float norm = isByDirection ? RowNorm<TSimd, TVector>.Of((byte*)row, DataType.Float32, size) : 1f;
            if (norm > 0f)
                Rows<TSimd, TVector>.AddScaled(row, weight / norm, size, sums);
            return norm;
        }

        private readonly void WriteRow(in RawView pool, int cell, int slot, int size, float* sums, float factor)
        {
            for (int i = 0; i < size; i++)
                sums[i] *= factor;
            Rows<TSimd, TVector>.Narrow(sums, size, Address(pool, cell, slot), Problem.Type);
        }

        private readonly byte* Address(in RawView pool, int cell, int slot) =>
            pool.Address(PageTable.ReadInt32(cell, slot / Problem.PageSize), slot % Problem.PageSize);
    }
}
