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
        var body = new Body { Call = new PageCodesCall(problem.Quantize, operands) };
        RowParallel.Run(ref body, problem.Quantize.Pages, body.Call.PageElements, workers);
    }

    private struct Body : IParallelBody
    {
        public PageCodesCall Call;

        public readonly void Execute(int worker, int workers)
        {
            float* row = stackalloc float[3 * AttentionProblem.MaxHeadDim];
            (long first, long last) = Partition.Range(Call.Problem.Pages, worker, workers);
            for (long i = first; i < last; i++)
            {
                (int source, int target) = Call.PagesOf(i);
                if (Call.Problem.Bits == 2)
                    Read<TwoBits<TSimd, TVector>>(source, target, row);
                else if (Call.Problem.Bits == 4)
                    Read<FourBits<TSimd, TVector>>(source, target, row);
                else
                    Read<EightBits<TSimd, TVector>>(source, target, row);
            }
        }

        private readonly void Read<TCodes>(int source, int target, float* row) where TCodes : struct, ICodes<TVector>
        {
            float* scales = row + AttentionProblem.MaxHeadDim, minima = scales + AttentionProblem.MaxHeadDim;
            Rows<TSimd, TVector>.Widen(Call.KeyScale.Address(source), DataType.Float16, Call.Problem.HeadDim, scales);
            Rows<TSimd, TVector>.Widen(Call.KeyMinimum.Address(source), DataType.Float16, Call.Problem.HeadDim, minima);
            for (int t = 0; t < Call.Problem.PageSize; t++)
                ReadRow<TCodes>(Call.KeyCodes.Address(source, t), Call.Problem.HeadDim, scales, minima, row, Call.Key.Address(target, t));
            for (int t = 0; t < Call.Problem.PageSize; t++)
            {
                for (int c = 0; c < Call.Problem.ValueHeadDim; c += CodePages.GroupSize)
                {
                    int count = Math.Min(CodePages.GroupSize, Call.Problem.ValueHeadDim - c), group = c / CodePages.GroupSize;
                    new Span<float>(scales + c, count).Fill((float)*(Half*)Call.ValueScale.Address(source, t, group));
                    new Span<float>(minima + c, count).Fill((float)*(Half*)Call.ValueMinimum.Address(source, t, group));
                }
                ReadRow<TCodes>(Call.ValueCodes.Address(source, t), Call.Problem.ValueHeadDim, scales, minima, row, Call.Value.Address(target, t));
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
            Rows<TSimd, TVector>.Narrow(row, size, target, Call.Problem.Type);
        }
    }
}
