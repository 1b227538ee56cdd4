using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Turns stored keys by steps of their own (<see cref="KvCacheRotateProblem"/>). Threads own ranges of the slots of all cells. A row is
/// widened, turned and rounded back; one that does not turn is copied or left alone. Workspace: none; 5 · 256 floats of stack a
/// thread.
/// </summary>
public sealed unsafe class KvCacheRotate<TSimd, TVector>() : CpuKernel<KvCacheRotateProblem>($"kv-cache-rotate/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in KvCacheRotateProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        RawView target = operands[KvCacheRotateProblem.Target];
        var body = new Body
        {
            Problem = problem,
            Target = target,
            Source = problem.IsCopy ? operands[KvCacheRotateProblem.Source] : target,
            PageTable = operands[KvCacheRotateProblem.PageTable],
            Lengths = operands[KvCacheRotateProblem.Lengths],
            Steps = operands[KvCacheRotateProblem.Steps],
            Cos = operands[KvCacheRotateProblem.Cos],
            Sin = operands[KvCacheRotateProblem.Sin],
        };
        RowParallel.Run(ref body, (int)Math.Min((long)problem.Cells * problem.Slots, int.MaxValue), problem.HeadDim, workers);
    }

    private struct Body : IParallelBody
    {
        public KvCacheRotateProblem Problem;
        public RawView Target, Source, PageTable, Lengths, Steps, Cos, Sin;

        public readonly void Execute(int worker, int workers)
        {
            float* values = stackalloc float[5 * AttentionProblem.MaxHeadDim];
            for (int c = 0; c < Problem.Cells; c++)
            {
                (long first, long last) = Partition.Range(Lengths.ReadInt32(c), worker, workers);
                for (int j = (int)first; j < last; j++)
                    Turn(c, j, values);
            }
        }

        private readonly void Turn(int cell, int slot, float* values)
        {
            int page = PageTable.ReadInt32(cell, slot / Problem.PageSize), row = slot % Problem.PageSize, step = Steps.ReadInt32(cell, slot);
            byte* source = Source.Address(page, row), target = Target.Address(page, row);
            long bytes = (long)Problem.HeadDim * Problem.Type.SizeInBytes();
            if (source != target)
                Buffer.MemoryCopy(source, target, bytes, bytes);
            if (step == 0 || Problem.RotaryDim == 0)
                return;
            int half = Problem.RotaryDim / 2;
            float* cos = (float*)Cos.Address(Math.Abs(step)), sin = (float*)Sin.Address(Math.Abs(step));
            float* spreadCos = values + AttentionProblem.MaxHeadDim, spreadSin = spreadCos + AttentionProblem.MaxHeadDim;
            if (step < 0)
            {
                float* negative = spreadSin + AttentionProblem.MaxHeadDim;
                for (int i = 0; i < half; i++)
                    negative[i] = -sin[i];
                sin = negative;
            }
            float* turned = Problem.Type == DataType.Float32 ? (float*)target : values;
            if (turned == values)
                Rows<TSimd, TVector>.Widen(source, Problem.Type, Problem.RotaryDim, values);
            if (Problem.IsInterleaved)
            {
                RotaryRow<TSimd, TVector>.Spread(cos, sin, spreadCos, spreadSin, half);
                RotaryRow<TSimd, TVector>.TurnInterleaved(turned, spreadCos, spreadSin, Problem.RotaryDim);
            }
            else
            {
                RotaryRow<TSimd, TVector>.TurnHalfSplit(turned, cos, sin, half);
            }
            if (turned == values)
                Rows<TSimd, TVector>.Narrow(values, Problem.RotaryDim, target, Problem.Type);
        }
    }
}
