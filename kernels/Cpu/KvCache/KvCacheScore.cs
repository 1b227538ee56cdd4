using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Scores from attention (<see cref="KvCacheScoreProblem"/>). A task is 1024 slots of a cell: the heads of its group are aggregated into
/// a buffer with half a pool on either side, which is then smoothed. Workspace of a thread: 1024 + poolSize floats.
/// </summary>
public sealed unsafe class KvCacheScore<TSimd, TVector>() : CpuKernel<KvCacheScoreProblem>($"kv-cache-score/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockSize = 1024;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in KvCacheScoreProblem problem, int threads) =>
        FloatsPerThread(problem) * sizeof(float) * threads;

    /// <inheritdoc/>
    public override void Run(in KvCacheScoreProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            ColumnMass = operands[KvCacheScoreProblem.ColumnMass],
            Lengths = operands[KvCacheScoreProblem.Lengths],
            Scores = operands[KvCacheScoreProblem.Scores],
            Workspace = (float*)workspace,
        };
        RowParallel.Run(ref body, (int)Math.Min(body.Tasks, int.MaxValue), (long)BlockSize * problem.GroupSize, workers);
    }

    // Whole cache lines, so that threads do not share one.
    private static long FloatsPerThread(in KvCacheScoreProblem problem) => (BlockSize + problem.PoolSize + 15) / 16 * 16;

    private struct Body : IParallelBody
    {
        public KvCacheScoreProblem Problem;
        public RawView ColumnMass, Lengths, Scores;
        public float* Workspace;

        private readonly long Blocks => ((long)Problem.Slots + BlockSize - 1) / BlockSize;

        public readonly long Tasks => Problem.Cells * Blocks;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Tasks, worker, workers);
            for (long task = first; task < last; task++)
                RunBlock((int)(task / Blocks), (int)(task % Blocks) * BlockSize, Workspace + worker * FloatsPerThread(Problem));
        }

        private readonly void RunBlock(int cell, int begin, float* buffer)
        {
            int end = (int)Math.Min(Problem.Slots, (long)begin + BlockSize);
            int length = Lengths.ReadInt32(cell), scored = Math.Max(0, length - Problem.RecentCount), reach = Problem.PoolSize / 2;
            int scoredEnd = Math.Min(end, scored);
            float* scores = (float*)Scores.Address(cell);
            if (begin < scoredEnd)
            {
                // What lies outside the scored slots adds nothing to a pool.
                int from = Math.Max(0, begin - reach), to = (int)Math.Min(scored, (long)scoredEnd + reach);
                int count = scoredEnd - begin + 2 * reach;
                new Span<float>(buffer, count).Fill(Problem.Pooling == KvPooling.Max ? float.NegativeInfinity : 0f);
                Aggregate(cell, from, to - from, buffer + (from - (begin - reach)));
                if (Problem.Pooling == KvPooling.Max)
                    PoolMax(buffer, Problem.PoolSize, scoredEnd - begin, scores + begin);
                else
                    PoolMean(buffer, Problem.PoolSize, scoredEnd - begin, scores + begin);
            }
            Fill(scores, begin, Math.Min(end, Math.Min(length, Problem.SinkCount)), float.PositiveInfinity);
            Fill(scores, Math.Max(begin, scored), Math.Min(end, length), float.PositiveInfinity);
            Fill(scores, Math.Max(begin, length), end, float.NegativeInfinity);
        }

        private static void Fill(float* scores, int begin, int end, float value)
        {
            if (begin < end)
                new Span<float>(scores + begin, end - begin).Fill(value);
        }

        private readonly void Aggregate(int cell, int first, int count, float* target)
        {
            int head = cell * Problem.GroupSize;
            Unsafe.CopyBlockUnaligned(target, (float*)ColumnMass.Address(head) + first, (uint)count * sizeof(float));
            for (int g = 1; g < Problem.GroupSize; g++)
            {
                float* mass = (float*)ColumnMass.Address(head + g) + first;
                if (Problem.Aggregate == KvAggregate.Max)
                    Max(mass, count, target);
                else
                    Rows<TSimd, TVector>.Add(mass, count, target);
            }
            Multiply(target, count, Problem.Aggregate == KvAggregate.Mean ? Problem.Scale / Problem.GroupSize : Problem.Scale);
        }

        private static void Max(float* row, int count, float* target)
        {
            int i = 0;
            for (; i <= count - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.Max(TSimd.Load(target + i), TSimd.Load(row + i)), target + i);
            for (; i < count; i++)
                target[i] = Math.Max(target[i], row[i]);
        }

        private static void Multiply(float* row, int count, float factor)
        {
            TVector f = TSimd.Broadcast(factor);
            int i = 0;
            for (; i <= count - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.Multiply(TSimd.Load(row + i), f), row + i);
            for (; i < count; i++)
                row[i] *= factor;
        }

        private static void PoolMean(float* buffer, int poolSize, int count, float* scores)
        {
            TVector size = TSimd.Broadcast(poolSize);
            int j = 0;
            for (; j <= count - TSimd.Width; j += TSimd.Width)
            {
                TVector sum = TSimd.Load(buffer + j);
                for (int i = 1; i < poolSize; i++)
                    sum = TSimd.Add(sum, TSimd.Load(buffer + j + i));
                TSimd.Store(TSimd.Divide(sum, size), scores + j);
            }
            for (; j < count; j++)
            {
                float sum = buffer[j];
                for (int i = 1; i < poolSize; i++)
                    sum += buffer[j + i];
                scores[j] = sum / poolSize;
            }
        }

        private static void PoolMax(float* buffer, int poolSize, int count, float* scores)
        {
            int j = 0;
            for (; j <= count - TSimd.Width; j += TSimd.Width)
            {
                TVector max = TSimd.Load(buffer + j);
                for (int i = 1; i < poolSize; i++)
                    max = TSimd.Max(max, TSimd.Load(buffer + j + i));
                TSimd.Store(max, scores + j);
            }
            for (; j < count; j++)
            {
                float max = buffer[j];
                for (int i = 1; i < poolSize; i++)
                    max = Math.Max(max, buffer[j + i]);
                scores[j] = max;
            }
        }
    }
}
