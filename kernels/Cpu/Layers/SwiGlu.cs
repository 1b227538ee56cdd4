using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// output = gate / (1 + exp(−gate)) · up (Shazeer 2020, arXiv:2002.05202). Threads own ranges of rows. With
/// <c>e = exp(−|g|)</c>, which never overflows, <c>silu(g) = (max(g, 0) − max(−g, 0)·e) / (1 + e)</c> for either sign.
/// </summary>
public sealed unsafe class SwiGlu<TSimd, TVector>() : CpuKernel<SwiGluProblem>($"swiglu/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float MinusLog2E = -1.44269504f;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in SwiGluProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Gate = operands[SwiGluProblem.Gate],
            Up = operands[SwiGluProblem.Up],
            Output = operands[SwiGluProblem.Output],
        };
        RowParallel.Run(ref body, problem.Rows, problem.Size, workers);
    }

    private struct Body : IParallelBody
    {
        public SwiGluProblem Problem;
        public RawView Gate, Up, Output;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long m = first; m < last; m++)
                ComputeRow((float*)Gate.Address(m), (float*)Up.Address(m), (float*)Output.Address(m), Problem.Size);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void ComputeRow(float* gate, float* up, float* output, long size)
        {
            long i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.Multiply(Silu(TSimd.Load(gate + i)), TSimd.Load(up + i)), output + i);
            if (i == size)
                return;
            // The last elements take a vector of their own: exp has no scalar form that gives the same bits.
            TVector rest = TSimd.Zero;
            Unsafe.CopyBlockUnaligned(&rest, gate + i, (uint)(size - i) * sizeof(float));
            rest = Silu(rest);
            float* gated = (float*)&rest;
            for (long j = i; j < size; j++)
                output[j] = gated[j - i] * up[j];
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Silu(TVector g)
        {
            TVector negative = TSimd.Max(TSimd.Subtract(TSimd.Zero, g), TSimd.Zero);
            TVector positive = TSimd.Add(g, negative); // max(g, 0), but NaN for NaN, which Max may lose
            TVector e = TSimd.Exp2(TSimd.Multiply(TSimd.Add(positive, negative), TSimd.Broadcast(MinusLog2E)));
            return TSimd.Divide(TSimd.Subtract(positive, TSimd.Multiply(negative, e)), TSimd.Add(TSimd.Broadcast(1), e));
        }
    }
}
