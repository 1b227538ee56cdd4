using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// output = weight · input / √(mean(input²) + ε) (Zhang and Sennrich 2019, arXiv:1910.07467). Threads own ranges of rows; a
/// row is read twice, the second time from the first-level cache, and its squares are summed in four vectors.
/// </summary>
public sealed unsafe class RmsNorm<TSimd, TVector>() : CpuKernel<RmsNormProblem>($"rms-norm/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in RmsNormProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Input = operands[RmsNormProblem.Input],
            Weight = (float*)operands[RmsNormProblem.Weight].Data,
            Output = operands[RmsNormProblem.Output],
        };
        RowParallel.Run(ref body, problem.Rows, problem.Size, workers);
    }

    private struct Body : IParallelBody
    {
        public RmsNormProblem Problem;
        public RawView Input, Output;
        public float* Weight;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long m = first; m < last; m++)
            {
                float* x = (float*)Input.Address(m);
                float scale = 1 / MathF.Sqrt(SumOfSquares(x, Problem.Size) / Problem.Size + Problem.Epsilon);
                Scale(x, Weight, scale, (float*)Output.Address(m), Problem.Size);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static float SumOfSquares(float* x, long size)
        {
            int v = TSimd.Width;
            TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
            long i = 0;
            for (; i <= size - 4 * v; i += 4 * v)
            {
                TVector x0 = TSimd.Load(x + i), x1 = TSimd.Load(x + i + v), x2 = TSimd.Load(x + i + 2 * v), x3 = TSimd.Load(x + i + 3 * v);
                s0 = TSimd.MultiplyAdd(x0, x0, s0);
                s1 = TSimd.MultiplyAdd(x1, x1, s1);
                s2 = TSimd.MultiplyAdd(x2, x2, s2);
                s3 = TSimd.MultiplyAdd(x3, x3, s3);
            }
            for (; i <= size - v; i += v)
                s0 = TSimd.MultiplyAdd(TSimd.Load(x + i), TSimd.Load(x + i), s0);
            float sum = TSimd.Sum(TSimd.Add(TSimd.Add(s0, s1), TSimd.Add(s2, s3)));
            for (; i < size; i++)
                sum += x[i] * x[i];
            return sum;
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Scale(float* x, float* w, float scale, float* y, long size)
        {
            TVector scales = TSimd.Broadcast(scale);
            long i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.Multiply(TSimd.Load(w + i), TSimd.Multiply(TSimd.Load(x + i), scales)), y + i);
            for (; i < size; i++)
                y[i] = w[i] * (x[i] * scale);
        }
    }
}
