using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// One token of each row from the filtered softmax (<see cref="SampleProblem"/>). Threads own ranges of rows. Two vector
/// passes over a row (maximum, weights) fill a histogram; the filters and the draw walk it and sort at most one of its bins
/// each (<see cref="TokenBins"/>): O(size), where sorting the row would be O(size · log size). Weights are float32, their
/// sums double. Workspace a thread: 14 bytes a logit and 24 KiB.
/// </summary>
public sealed unsafe class Sample<TSimd, TVector>() : CpuKernel<SampleProblem>($"sample/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;
    private const int ChunkSize = 256;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SampleProblem problem, int threads) =>
        problem.Temperature == 0 ? 0 : BytesPerThread(problem) * (RowParallel.IsWorthwhile(problem.Rows, problem.Size) ? threads : 1);

    /// <inheritdoc/>
    public override void Run(in SampleProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Logits = operands[SampleProblem.Logits],
            Uniforms = operands[SampleProblem.Uniforms],
            Indices = operands[SampleProblem.Indices],
            Workspace = (byte*)workspace,
        };
        RowParallel.Run(ref body, problem.Rows, problem.Size, workers);
    }

    // Whole cache lines, so that threads do not share one.
    private static long BytesPerThread(in SampleProblem problem) => (TokenBins.GetWorkspaceBytes(problem.Size) + 63) / 64 * 64;

    private struct Body : IParallelBody
    {
        public SampleProblem Problem;
        public RawView Logits, Uniforms, Indices;
        public byte* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long m = first; m < last; m++)
            {
                float* logits = (float*)Logits.Address(m);
                *(int*)Indices.Address(m) = Problem.Temperature == 0
                    ? LogitScan<TSimd, TVector>.ArgMax(logits, Problem.Size)
                    : Draw(logits, *(float*)Uniforms.Address(m), Workspace + worker * BytesPerThread(Problem));
            }
        }

        private readonly int Draw(float* logits, float uniform, byte* workspace)
        {
            float max = LogitScan<TSimd, TVector>.Max(logits, Problem.Size);
            if (!float.IsFinite(max))
                return -1;
            // A scale of infinity would turn the largest logit's distance of 0 into NaN.
            float scale = MathF.Min(Log2E / Problem.Temperature, float.MaxValue);
            var bins = new TokenBins(logits, Problem.Size, max, scale, workspace);
            Fill(bins, logits, Problem.Size, max, scale);
            TokenPrefix kept = bins.All();
            if (Problem.TopK > 0)
                kept = bins.TakeCount(kept, Problem.TopK);
            if (Problem.TopP < 1)
                kept = bins.TakeWeight(kept, Problem.TopP * kept.Weight);
            if (Problem.MinP > 0)
                kept = bins.TakeOctaves(kept, -MathF.Log2(Problem.MinP));
            return bins.LastOf(bins.TakeWeight(kept, uniform * kept.Weight));
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Fill(in TokenBins bins, float* logits, int size, float max, float scale)
        {
            float* z = stackalloc float[2 * ChunkSize];
            float* weights = z + ChunkSize;
            TVector maxima = TSimd.Broadcast(max), scales = TSimd.Broadcast(scale);
            for (int first = 0; first < size; first += ChunkSize)
            {
                int count = Math.Min(ChunkSize, size - first);
                for (int i = 0; i < count; i += TSimd.Width)
                {
                    TVector logit = maxima;
                    if (i + TSimd.Width <= count)
                        logit = TSimd.Load(logits + first + i);
                    else
                        Unsafe.CopyBlockUnaligned(&logit, logits + first + i, (uint)(count - i) * sizeof(float));
                    TVector octaves = TSimd.Multiply(TSimd.Subtract(maxima, logit), scales);
                    TSimd.Store(octaves, z + i);
                    TSimd.Store(TSimd.Exp2(TSimd.Subtract(TSimd.Zero, octaves)), weights + i);
                }
                bins.Add(first, count, z, weights);
            }
        }
    }
}
