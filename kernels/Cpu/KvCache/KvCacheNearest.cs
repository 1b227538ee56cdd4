using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// The nearest centre of each candidate (<see cref="KvCacheNearestProblem"/>). A thread divides the centres of a cell by their norms
/// once, side by side in its workspace, and goes through them for each of its candidates; candidates are shared out evenly.
/// Workspace per thread: slots · (headDim + valueHeadDim) floats; 512 floats of stack.
/// </summary>
public sealed unsafe class KvCacheNearest<TSimd, TVector>() : CpuKernel<KvCacheNearestProblem>($"kv-cache-nearest/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheNearestProblem problem, int threads) =>
        checked((long)threads * problem.Slots * (problem.HeadDim + problem.ValueHeadDim) * sizeof(float));

    /// <inheritdoc/>
    public override void Run(in KvCacheNearestProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Key = operands[KvCacheNearestProblem.Key],
            Value = operands[KvCacheNearestProblem.Value],
            PageTable = operands[KvCacheNearestProblem.PageTable],
            Centres = operands[KvCacheNearestProblem.Centres],
            CentreCounts = operands[KvCacheNearestProblem.CentreCounts],
            Candidates = operands[KvCacheNearestProblem.Candidates],
            CandidateCounts = operands[KvCacheNearestProblem.CandidateCounts],
            Nearest = operands[KvCacheNearestProblem.Nearest],
            Similarity = operands[KvCacheNearestProblem.Similarity],
            Workspace = (float*)workspace,
        };
        workers.Run(ref body);
    }

    private struct Body : IParallelBody
    {
        public KvCacheNearestProblem Problem;
        public RawView Key, Value, PageTable, Centres, CentreCounts, Candidates, CandidateCounts, Nearest, Similarity;
        public float* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            float* row = stackalloc float[2 * AttentionProblem.MaxHeadDim];
            int width = Problem.HeadDim + Problem.ValueHeadDim;
            float* rows = Workspace + (long)worker * Problem.Slots * width;
            for (int c = 0; c < Problem.Cells; c++)
            {
                int candidates = CandidateCounts.ReadInt32(c), centres = CentreCounts.ReadInt32(c);
                (long first, long last) = Partition.Range(Problem.Slots, worker, workers);
                for (int j = 0; j < centres && first < candidates; j++)
                    LoadRow(c, Centres.ReadInt32(c, j), rows + (long)j * width);
                for (long i = first; i < last; i++)
                {
                    int nearest = -1;
                    float best = 0f;
                    if (i < candidates && centres > 0)
                    {
                        LoadRow(c, Candidates.ReadInt32(c, i), row);
                        for (int j = 0; j < centres; j++)
                        {
                            float* centre = rows + (long)j * width;
                            float similarity = Math.Max(0f, Rows<TSimd, TVector>.Dot(row, centre, Problem.HeadDim))
                                * Math.Max(0f, Rows<TSimd, TVector>.Dot(row + Problem.HeadDim, centre + Problem.HeadDim, Problem.ValueHeadDim));
                            int slot = Centres.ReadInt32(c, j);
                            if (nearest < 0 || similarity > best || (similarity == best && slot > nearest))
                                (best, nearest) = (similarity, slot);
                        }
                    }
                    *(int*)Nearest.Address(c, i) = best >= Problem.Threshold ? nearest : -1;
                    *(float*)Similarity.Address(c, i) = best;
                }
            }
        }

        // The key and the value of a slot, each of length 1 or 0.
        private readonly void LoadRow(int cell, int slot, float* row)
        {
            int page = PageTable.ReadInt32(cell, slot / Problem.PageSize), line = slot % Problem.PageSize;
            Rows<TSimd, TVector>.Widen(Key.Address(page, line), Problem.Type, Problem.HeadDim, row);
            Normalize(row, Problem.HeadDim);
            Rows<TSimd, TVector>.Widen(Value.Address(page, line), Problem.Type, Problem.ValueHeadDim, row + Problem.HeadDim);
            Normalize(row + Problem.HeadDim, Problem.ValueHeadDim);
        }

        private static void Normalize(float* row, int size)
        {
            float norm = RowNorm<TSimd, TVector>.Of((byte*)row, DataType.Float32, size);
            for (int i = 0; i < size && norm > 0f; i++)
                row[i] /= norm;
        }
    }
}
