using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>
/// Quantises whole pages (<see cref="KvCacheQuantizeProblem"/>). Threads own pages, which are read twice: for the ranges of the channels
/// of keys, and for the codes. Workspace: none; 6 · 272 floats of stack a thread.
/// </summary>
public sealed unsafe class KvCacheQuantize<TSimd, TVector>() : CpuKernel<KvCacheQuantizeProblem>($"kv-cache-quantize/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int Room = AttentionProblem.MaxHeadDim + 16;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in KvCacheQuantizeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body { Call = new PageCodesCall(problem, operands) };
        RowParallel.Run(ref body, problem.Pages, body.Call.PageElements, workers);
    }

    private struct Body : IParallelBody
    {
        public PageCodesCall Call;

        public readonly void Execute(int worker, int workers)
        {
            float* row = stackalloc float[6 * Room];
            (long first, long last) = Partition.Range(Call.Problem.Pages, worker, workers);
            for (long i = first; i < last; i++)
            {
                (int source, int target) = Call.PagesOf(i);
                QuantizeKeys(source, target, row);
                for (int t = 0; t < Call.Problem.PageSize; t++)
                    QuantizeValue(source, target, t, row);
            }
        }

        private readonly void QuantizeKeys(int source, int target, float* row)
        {
            float* scales = row + Room, minima = scales + Room, most = minima + Room, mostNegative = most + Room;
            int size = Call.Problem.HeadDim, w = TSimd.Width;
            new Span<float>(most, 2 * Room).Fill(float.NegativeInfinity);
            for (int t = 0; t < Call.Problem.PageSize; t++)
            {
                Load(Call.Key.Address(source, t), size, row);
                for (int c = 0; c < size; c += w)
                {
                    TVector x = TSimd.Load(row + c);
                    TSimd.Store(TSimd.Max(TSimd.Load(most + c), x), most + c);
                    TSimd.Store(TSimd.Max(TSimd.Load(mostNegative + c), TSimd.Subtract(TSimd.Zero, x)), mostNegative + c);
                }
            }
            var keyScale = (Half*)Call.KeyScale.Address(target);
            var keyMinimum = (Half*)Call.KeyMinimum.Address(target);
            for (int c = 0; c < size; c++)
                (scales[c], minima[c]) = FindScale(-mostNegative[c], most[c], keyScale + c, keyMinimum + c);
            for (int t = 0; t < Call.Problem.PageSize; t++)
            {
                Load(Call.Key.Address(source, t), size, row);
                Encode(row, scales, minima, size, Call.KeyCodes.Address(target, t));
            }
        }

        private readonly void QuantizeValue(int source, int target, int slot, float* row)
        {
            float* scales = row + Room, minima = scales + Room;
            int size = Call.Problem.ValueHeadDim;
            Load(Call.Value.Address(source, slot), size, row);
            for (int c = 0; c < size; c += CodePages.GroupSize)
            {
                int count = Math.Min(CodePages.GroupSize, size - c), group = c / CodePages.GroupSize;
                float least = row[c], most = row[c];
                for (int i = c; i < c + count; i++)
                    (least, most) = (Math.Min(least, row[i]), Math.Max(most, row[i]));
                (float scale, float minimum) = FindScale(
                    least, most, (Half*)Call.ValueScale.Address(target, slot, group), (Half*)Call.ValueMinimum.Address(target, slot, group));
                new Span<float>(scales + c, count).Fill(scale);
                new Span<float>(minima + c, count).Fill(minimum);
            }
            Encode(row, scales, minima, size, Call.ValueCodes.Address(target, slot));
        }

        // Stores a scale and a minimum and returns what to divide by, and to subtract.
        private readonly (float Scale, float Minimum) FindScale(float least, float most, Half* scale, Half* minimum)
        {
            *minimum = KvCodec.FindMinimum(least);
            *scale = KvCodec.FindScale(most, *minimum, (1 << Call.Problem.Bits) - 1);
            return (*scale == Half.Zero ? 1f : (float)*scale, (float)*minimum);
        }

        // A row as numbers that can be stored (see KvCodec.Clamp); whole vectors are written.
        private readonly void Load(byte* source, int size, float* row)
        {
            Rows<TSimd, TVector>.Widen(source, Call.Problem.Type, size, row);
            TVector limit = TSimd.Broadcast(KvCodec.Limit), lower = TSimd.Broadcast(-KvCodec.Limit);
            for (int c = 0; c < size; c += TSimd.Width)
            {
                TVector x = TSimd.Load(row + c);
                x = TSimd.SelectLess(x, limit, x, TSimd.SelectLess(TSimd.Zero, x, limit, TSimd.Zero)); // a NaN is not less
                TSimd.Store(TSimd.SelectLess(lower, x, x, lower), row + c);
            }
        }

        private readonly void Encode(float* row, float* scales, float* minima, int size, byte* codes)
        {
            TVector half = TSimd.Broadcast(0.5f), one = TSimd.Broadcast(1f), round = TSimd.Broadcast(8388608f);
            for (int c = 0; c < size; c += TSimd.Width)
            {
                TVector x = TSimd.Subtract(TSimd.Load(row + c), TSimd.Load(minima + c)), scale = TSimd.Load(scales + c);
                // The nearest integer, or one beside it as the quotient is rounded; (code ± 1/2) · scale is exact and decides.
                TVector code = TSimd.Subtract(TSimd.Add(TSimd.Divide(x, scale), round), round);
                code = TSimd.SelectLess(x, TSimd.Multiply(TSimd.Subtract(code, half), scale), TSimd.Subtract(code, one), code);
                code = TSimd.SelectLess(x, TSimd.Multiply(TSimd.Add(code, half), scale), code, TSimd.Add(code, one));
                TSimd.Store(code, row + c);
            }
            switch (Call.Problem.Bits)
            {
                case 8:
                    for (int i = 0; i < size; i++)
                        codes[i] = (byte)(int)row[i];
                    break;
                case 4:
                    for (int i = 0; i < size / 2; i++)
                        codes[i] = (byte)(int)(row[2 * i] + 16 * row[2 * i + 1]);
                    break;
                default:
                    for (int i = 0; i < size / 4; i++)
                        codes[i] = (byte)(int)(row[4 * i] + 4 * row[4 * i + 1] + 16 * row[4 * i + 2] + 64 * row[4 * i + 3]);
                    break;
            }
        }
    }
}
