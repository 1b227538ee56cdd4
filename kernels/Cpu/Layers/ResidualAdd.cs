using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>residual += input; threads own ranges of rows. Bound by memory: 12 bytes an element.</summary>
public sealed unsafe class ResidualAdd<TSimd, TVector>() : CpuKernel<ResidualAddProblem>($"residual-add/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in ResidualAddProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Residual = operands[ResidualAddProblem.Residual],
            Input = operands[ResidualAddProblem.Input],
        };
        RowParallel.Run(ref body, problem.Rows, problem.Size, workers);
    }

    private struct Body : IParallelBody
    {
        public ResidualAddProblem Problem;
        public RawView Residual, Input;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Rows, worker, workers);
            for (long m = first; m < last; m++)
                AddRow((float*)Residual.Address(m), (float*)Input.Address(m), Problem.Size);
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void AddRow(float* residual, float* input, long size)
        {
            long i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.Add(TSimd.Load(residual + i), TSimd.Load(input + i)), residual + i);
            for (; i < size; i++)
                residual[i] += input[i];
        }
    }
}
