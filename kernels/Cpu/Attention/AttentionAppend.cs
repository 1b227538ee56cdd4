using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Appends new keys and values to a cache with rotary positions on the way (<see cref="AttentionAppendProblem"/>). Threads own
/// ranges of tokens; a token's angles serve all its heads, and one token is done by the calling thread, without a hand-over.
/// Rows that neither turn nor change type are copied. Workspace: none; 3 · 256 floats of stack a thread.
/// </summary>
public sealed unsafe class AttentionAppend<TSimd, TVector>() : CpuKernel<AttentionAppendProblem>($"attention-append/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override void Run(in AttentionAppendProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body { Call = new AppendCall(problem, operands) };
        long size = (long)problem.NumKvHeads * (problem.HeadDim + problem.ValueHeadDim) + (long)problem.NumHeads * problem.RotaryDim;
        RowParallel.Run(ref body, (int)Math.Min((long)problem.BatchSize * problem.NewLength, int.MaxValue), size, workers);
    }

    private struct Body : IParallelBody
    {
        public AppendCall Call;

        public readonly void Execute(int worker, int workers)
        {
            AttentionAppendProblem problem = Call.Problem;
            float* row = stackalloc float[3 * AttentionProblem.MaxHeadDim];
            float* spreadCos = row + AttentionProblem.MaxHeadDim, spreadSin = spreadCos + AttentionProblem.MaxHeadDim;
            (long first, long last) = Partition.Range((long)problem.BatchSize * problem.NewLength, worker, workers);
            for (long i = first; i < last; i++)
            {
                int batch = (int)(i / problem.NewLength), token = (int)(i % problem.NewLength);
                float* cos = null, sin = null;
                if (problem.RotaryDim > 0)
                {
                    cos = Call.Cosines(batch, token);
                    sin = Call.Sines(batch, token);
                    if (problem.IsInterleaved)
                    {
                        RotaryRow<TSimd, TVector>.Spread(cos, sin, spreadCos, spreadSin, problem.RotaryDim / 2);
                        cos = spreadCos;
                        sin = spreadSin;
                    }
                }
                for (int h = 0; h < problem.NumKvHeads; h++)
                {
                    AppendKey(batch, token, h, cos, sin, row);
                    AppendValue(batch, token, h, row);
                }
                for (int h = 0; problem.RotaryDim > 0 && h < problem.NumHeads; h++)
                    TurnQuery(Call.Query.Address(batch, token, h), cos, sin, row);
            }
        }

        private readonly void AppendKey(int batch, int token, int kvHead, float* cos, float* sin, float* row)
        {
            byte* source = Call.NewKey.Address(batch, token, kvHead), target = Call.CacheRow(Call.KeyCache, batch, token, kvHead);
            // A float32 row of a float32 cache turns where it lies.
            float* values = Call.Problem.KvType == DataType.Float32 ? (float*)target : row;
            Rows<TSimd, TVector>.Widen(source, Call.NewKey.Type, Call.Problem.HeadDim, values);
            Turn(values, cos, sin);
            if (Call.Problem.KvType == DataType.Int8)
                *Call.Scale(Call.KeyScale, batch, token, kvHead) = Quantise(values, Call.Problem.HeadDim, (sbyte*)target);
            else if (values == row)
                Rows<TSimd, TVector>.Narrow(values, Call.Problem.HeadDim, target, Call.Problem.KvType);
        }

        private readonly void AppendValue(int batch, int token, int kvHead, float* row)
        {
            byte* source = Call.NewValue.Address(batch, token, kvHead), target = Call.CacheRow(Call.ValueCache, batch, token, kvHead);
            int size = Call.Problem.ValueHeadDim;
            if (Call.Problem.KvType == Call.Problem.Type)
            {
                Unsafe.CopyBlockUnaligned(target, source, (uint)(size * Call.Problem.Type.SizeInBytes()));
                return;
            }
            Rows<TSimd, TVector>.Widen(source, Call.Problem.Type, size, row);
            if (Call.Problem.KvType == DataType.Int8)
                *Call.Scale(Call.ValueScale, batch, token, kvHead) = Quantise(row, size, (sbyte*)target);
            else
                Rows<TSimd, TVector>.Narrow(row, size, target, Call.Problem.KvType);
        }

        private readonly void TurnQuery(byte* query, float* cos, float* sin, float* row)
        {
            if (Call.Problem.Type == DataType.Float32)
            {
                Turn((float*)query, cos, sin);
                return;
            }
            Rows<TSimd, TVector>.Widen(query, Call.Problem.Type, Call.Problem.RotaryDim, row);
            Turn(row, cos, sin);
            Rows<TSimd, TVector>.Narrow(row, Call.Problem.RotaryDim, query, Call.Problem.Type);
        }

        private readonly void Turn(float* values, float* cos, float* sin)
        {
            if (Call.Problem.IsInterleaved)
                RotaryRow<TSimd, TVector>.TurnInterleaved(values, cos, sin, Call.Problem.RotaryDim);
            else
                RotaryRow<TSimd, TVector>.TurnHalfSplit(values, cos, sin, Call.Problem.RotaryDim / 2);
        }

        // Stores values in units of the scale that it returns: max|x| / 127.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static float Quantise(float* values, int size, sbyte* target)
        {
            TVector least = TSimd.Zero, most = TSimd.Zero;
            int i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
            {
                TVector x = TSimd.Load(values + i);
                most = TSimd.Max(most, x);
                least = TSimd.Max(least, TSimd.Subtract(TSimd.Zero, x));
            }
            float max = TSimd.MaxAcross(TSimd.Max(most, least));
            for (; i < size; i++)
                max = Math.Max(max, Math.Abs(values[i]));
            float scale = max / 127f;
            for (i = 0; i < size; i++)
                target[i] = scale == 0f ? (sbyte)0 : (sbyte)Math.Clamp(MathF.Round(values[i] / scale), -127f, 127f);
            return scale;
        }
    }
}
