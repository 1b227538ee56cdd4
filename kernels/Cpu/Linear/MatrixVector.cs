using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Linear;

/// <summary>
/// output = input · weightᵀ for a few rows (decoding): every weight is read once, at memory speed, and used for up to four
/// input rows while it is in a register. Threads own ranges of output features. A weight row is widened in registers; the
/// sums of one row run in four vectors so that no addition waits for another. Cost: outputSize · inputSize weights read,
/// 2 FLOPs a weight and row.
/// </summary>
public sealed unsafe class MatrixVector<TSimd, TVector>() : CpuKernel<LinearProblem>($"linear/cpu-matvec-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    // From about this many rows on, packing the weight and multiplying tiles is faster than streaming it.
    private const int MaxRows = 8;

    // Handing work to other threads costs some microseconds, in which one thread reads about this many weights from cache.
    private const long MinWeightsToShare = 1 << 15;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in LinearProblem problem) =>
        problem.IsInputTransposed || problem.IsWeightTransposed ? "takes factors that lie in rows"
        : problem.Rows <= MaxRows ? null : $"takes at most {MaxRows} rows";

    /// <inheritdoc/>
    public override void Run(in LinearProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Input = operands[LinearProblem.Input],
            Weight = operands[LinearProblem.Weight],
            Output = operands[LinearProblem.Output],
        };
        if ((long)problem.OutputSize * problem.InputSize < MinWeightsToShare)
            body.Execute(0, 1);
        else
            workers.Run(ref body);
    }

    private struct Body : IParallelBody
    {
        public LinearProblem Problem;
        public RawView Input, Weight, Output;

        public void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.OutputSize, worker, workers);
            switch (Weight.Type)
            {
                case DataType.Float32:
                    Stream<Float32Source<TSimd, TVector>>(first, last);
                    break;
                case DataType.Float16:
                    Stream<Float16Source<TSimd, TVector>>(first, last);
                    break;
                default:
                    Stream<BFloat16Source<TSimd, TVector>>(first, last);
                    break;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private readonly void Stream<TSource>(long first, long last) where TSource : struct, ISource<TVector>
        {
            long inputStride = Input.Layout.Stride(0), outputStride = Output.Layout.Stride(0);
            long size = Problem.InputSize;
            for (long n = first; n < last; n++)
            {
                byte* w = Weight.Address(n);
                float* y = (float*)Output.Data + n;
                int m = 0;
                for (; m <= Problem.Rows - 4; m += 4)
                {
                    float* x = (float*)Input.Data + m * inputStride;
                    DotFour<TSource>(w, x, inputStride, size, y + m * outputStride, outputStride);
                }
                if (m == Problem.Rows)
                    continue;
                for (; m < Problem.Rows; m++)
                {
                    float* x = (float*)Input.Data + m * inputStride;
                    y[m * outputStride] = typeof(TSource) == typeof(Float16Source<TSimd, TVector>) ? DotFloat16(w, x, size) : Dot<TSource>(w, x, size);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Dot<TSource>(byte* w, float* x, long size) where TSource : struct, ISource<TVector>
        {
            int v = TSimd.Width;
            TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
            long k = 0;
            for (; k <= size - 4 * v; k += 4 * v)
            {
                s0 = TSimd.MultiplyAdd(TSource.Load(w, k), TSimd.Load(x + k), s0);
                s1 = TSimd.MultiplyAdd(TSource.Load(w, k + v), TSimd.Load(x + k + v), s1);
                s2 = TSimd.MultiplyAdd(TSource.Load(w, k + 2 * v), TSimd.Load(x + k + 2 * v), s2);
                s3 = TSimd.MultiplyAdd(TSource.Load(w, k + 3 * v), TSimd.Load(x + k + 3 * v), s3);
            }
            return Finish<TSource>(w, x, k, size, TSimd.Add(TSimd.Add(s0, s1), TSimd.Add(s2, s3)));
        }

        // Widening binary16 is what bounds this loop. Weights are finite but for damaged ones, so they are widened as finite
        // numbers while one instruction a vector notes whether an infinity or a NaN came by; only then the row is done again.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float DotFloat16(byte* w, float* x, long size)
        {
            int v = TSimd.Width;
            TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
            Vector256<ushort> seen = Vector256<ushort>.Zero;
            long k = 0;
            for (; k <= size - 4 * v; k += 4 * v)
            {
                ushort* h = (ushort*)w + k;
                s0 = TSimd.MultiplyAdd(TSimd.LoadFiniteFloat16(h), TSimd.Load(x + k), s0);
                s1 = TSimd.MultiplyAdd(TSimd.LoadFiniteFloat16(h + v), TSimd.Load(x + k + v), s1);
                s2 = TSimd.MultiplyAdd(TSimd.LoadFiniteFloat16(h + 2 * v), TSimd.Load(x + k + 2 * v), s2);
                s3 = TSimd.MultiplyAdd(TSimd.LoadFiniteFloat16(h + 3 * v), TSimd.Load(x + k + 3 * v), s3);
                seen = Watch(seen, h);
                if (v >= 8)
                    seen = Watch(seen, h + 16);
                if (v >= 16)
                    seen = Watch(Watch(seen, h + 32), h + 48);
            }
            return (seen & Vector256.Create((ushort)0x8000)) == Vector256<ushort>.Zero
                ? Finish<Float16Source<TSimd, TVector>>(w, x, k, size, TSimd.Add(TSimd.Add(s0, s1), TSimd.Add(s2, s3)))
                : Dot<Float16Source<TSimd, TVector>>(w, x, size);
        }

        // Adding one to an exponent of all ones, and to no other, carries into the sign bit.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector256<ushort> Watch(Vector256<ushort> seen, ushort* values)
        {
            Vector256<ushort> bits = Vector256.Load(values);
            return seen | ((bits + Vector256.Create((ushort)0x0400)) ^ bits);
        }

        // The elements that no round of the main loop took.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Finish<TSource>(byte* w, float* x, long k, long size, TVector sums) where TSource : struct, ISource<TVector>
        {
            for (; k <= size - TSimd.Width; k += TSimd.Width)
                sums = TSimd.MultiplyAdd(TSource.Load(w, k), TSimd.Load(x + k), sums);
            float sum = TSimd.Sum(sums);
            for (; k < size; k++)
                sum += TSource.LoadOne(w, k) * x[k];
            return sum;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void DotFour<TSource>(byte* w, float* x, long xStride, long size, float* y, long yStride) where TSource : struct, ISource<TVector>
        {
            int v = TSimd.Width;
            float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
            TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
            TVector t0 = TSimd.Zero, t1 = TSimd.Zero, t2 = TSimd.Zero, t3 = TSimd.Zero;
            long k = 0;
            for (; k <= size - 2 * v; k += 2 * v)
            {
                TVector w0 = TSource.Load(w, k), w1 = TSource.Load(w, k + v);
                s0 = TSimd.MultiplyAdd(w0, TSimd.Load(x + k), s0);
                s1 = TSimd.MultiplyAdd(w0, TSimd.Load(x1 + k), s1);
                s2 = TSimd.MultiplyAdd(w0, TSimd.Load(x2 + k), s2);
                s3 = TSimd.MultiplyAdd(w0, TSimd.Load(x3 + k), s3);
                t0 = TSimd.MultiplyAdd(w1, TSimd.Load(x + k + v), t0);
                t1 = TSimd.MultiplyAdd(w1, TSimd.Load(x1 + k + v), t1);
                t2 = TSimd.MultiplyAdd(w1, TSimd.Load(x2 + k + v), t2);
                t3 = TSimd.MultiplyAdd(w1, TSimd.Load(x3 + k + v), t3);
            }
            float r0 = TSimd.Sum(TSimd.Add(s0, t0)), r1 = TSimd.Sum(TSimd.Add(s1, t1));
            float r2 = TSimd.Sum(TSimd.Add(s2, t2)), r3 = TSimd.Sum(TSimd.Add(s3, t3));
            for (; k < size; k++)
            {
                float weight = TSource.LoadOne(w, k);
                r0 += weight * x[k];
                r1 += weight * x1[k];
                r2 += weight * x2[k];
                r3 += weight * x3[k];
            }
            y[0] = r0;
            y[yStride] = r1;
            y[2 * yStride] = r2;
            y[3 * yStride] = r3;
        }
    }
}
