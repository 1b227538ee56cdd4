using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Reads whole pages of codes (<see cref="KvCacheDequantizeProblem"/>). Threads own pages. Workspace: none; 3 · 256 floats of stack a
/// thread.
/// </summary>
public sealed unsafe class KvCacheDequantize<TSimd, TVector>()
    : CpuKernel<KvCacheDequantizeProblem>($"kv-cache-dequantize/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in KvCacheDequantizeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Key = operands[KvCacheDequantizeProblem.Key],
            Value = operands[KvCacheDequantizeProblem.Value],
            SourcePages = operands[KvCacheDequantizeProblem.SourcePages],
            TargetPages = operands[KvCacheDequantizeProblem.TargetPages],
            KeyCodes = operands[KvCacheDequantizeProblem.KeyCodes],
            KeyScale = operands[KvCacheDequantizeProblem.KeyScale],
            KeyMinimum = operands[KvCacheDequantizeProblem.KeyMinimum],
            ValueCodes = operands[KvCacheDequantizeProblem.ValueCodes],
            ValueScale = operands[KvCacheDequantizeProblem.ValueScale],
            ValueMinimum = operands[KvCacheDequantizeProblem.ValueMinimum],
        };
        RowParallel.Run(ref body, problem.Pages, (long)problem.PageSize * (problem.HeadDim + problem.ValueHeadDim), workers);
    }

    private struct Body : IParallelBody
    {
        public KvCacheDequantizeProblem Problem;
        public RawView Key, Value, SourcePages, TargetPages, KeyCodes, KeyScale, KeyMinimum, ValueCodes, ValueScale, ValueMinimum;

        public readonly void Execute(int worker, int workers)
        {
            float* row = stackalloc float[3 * AttentionProblem.MaxHeadDim];
            (long first, long last) = Partition.Range(Problem.Pages, worker, workers);
            for (long i = first; i < last; i++)
            {
                if (Problem.Bits == 2)
                    Read<TwoBits<TSimd, TVector>>(SourcePages.ReadInt32(i), TargetPages.ReadInt32(i), row);
                else if (Problem.Bits == 4)
                    Read<FourBits<TSimd, TVector>>(SourcePages.ReadInt32(i), TargetPages.ReadInt32(i), row);
                else
                    Read<EightBits<TSimd, TVector>>(SourcePages.ReadInt32(i), TargetPages.ReadInt32(i), row);
            }
        }

        private readonly void Read<TCodes>(int source, int target, float* row) where TCodes : struct, ICodes<TVector>
        {
            float* scales = row + AttentionProblem.MaxHeadDim, minima = scales + AttentionProblem.MaxHeadDim;
            Rows<TSimd, TVector>.Widen(KeyScale.Address(source), DataType.Float16, Problem.HeadDim, scales);
            Rows<TSimd, TVector>.Widen(KeyMinimum.Address(source), DataType.Float16, Problem.HeadDim, minima);
            for (int t = 0; t < Problem.PageSize; t++)
                ReadRow<TCodes>(KeyCodes.Address(source, t), Problem.HeadDim, scales, minima, row, Key.Address(target, t));
            for (int t = 0; t < Problem.PageSize; t++)
            {
                for (int c = 0; c < Problem.ValueHeadDim; c += CodePages.GroupSize)
                {
                    int count = Math.Min(CodePages.GroupSize, Problem.ValueHeadDim - c), group = c / CodePages.GroupSize;
                    new Span<float>(scales + c, count).Fill((float)*(Half*)ValueScale.Address(source, t, group));
                    new Span<float>(minima + c, count).Fill((float)*(Half*)ValueMinimum.Address(source, t, group));
                }
                ReadRow<TCodes>(ValueCodes.Address(source, t), Problem.ValueHeadDim, scales, minima, row, Value.Address(target, t));
            }
        }

        private readonly void ReadRow<TCodes>(byte* codes, int size, float* scales, float* minima, float* row, byte* target)
            where TCodes : struct, ICodes<TVector>
        {
            int c = 0;
            for (; c <= size - TSimd.Width; c += TSimd.Width)
                TSimd.Store(TSimd.MultiplyAdd(TCodes.Load(codes, c), TSimd.Load(scales + c), TSimd.Load(minima + c)), row + c);
            for (; c < size; c++)
                row[c] = Codes.Read(codes, c, TCodes.Bits) * scales[c] + minima[c];
            Rows<TSimd, TVector>.Narrow(row, size, target, Problem.Type);
        }
    }
}
