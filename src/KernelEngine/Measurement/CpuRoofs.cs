using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>Measures what the host's threads can do at most: multiply-adds from registers, and reading memory end to end.</summary>
internal static unsafe class CpuRoofs
{
    private const long ReadBytes = 512 << 20;
    private const int Passes = 5, Accumulators = 24;

    // A pass of some ten milliseconds: long beside starting the threads.
    private const int Rounds = 1 << 20;

    public static Roof Measure(CpuDevice device)
    {
        float* sums = (float*)HostMemory.Allocate(Math.Max(64 * device.Threads, ReadBytes));
        try
        {
            var multiply = new MultiplyAddBody { Sums = sums };
            double multiplySeconds = Best(device.Workers, ref multiply);
            double flops = 2.0 * Accumulators * Lanes * Rounds * device.Threads;
            var read = new ReadBody { Data = (byte*)sums, Sums = sums };
            return new Roof(flops / multiplySeconds / 1e9, ReadBytes / Best(device.Workers, ref read));
        }
        finally
        {
            HostMemory.Free(sums);
        }
    }

    private static int Lanes => Avx512F.IsSupported ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4;

    private static double Best<TBody>(WorkerPool workers, ref TBody body) where TBody : unmanaged, IParallelBody
    {
        workers.Run(ref body);
        double best = double.PositiveInfinity;
        for (int i = 0; i < Passes; i++)
        {
            long start = Stopwatch.GetTimestamp();
            workers.Run(ref body);
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }

    private struct MultiplyAddBody : IParallelBody
    {
        public float* Sums;

        public readonly void Execute(int worker, int workers)
        {
            float* sum = Sums + 16 * worker;
            if (Avx512F.IsSupported)
                Chains<Simd512, Vector512<float>>(sum);
            else if (Vector256.IsHardwareAccelerated)
                Chains<Simd256, Vector256<float>>(sum);
            else
                Chains<Simd128, Vector128<float>>(sum);
        }
    }

    private struct ReadBody : IParallelBody
    {
        public byte* Data;
        public float* Sums;

        public readonly void Execute(int worker, int workers)
        {
            long lines = ReadBytes / 256;
            long first = lines * worker / workers, end = lines * (worker + 1) / workers;
            // Through memory, so that the loads are needed; the sums lie in the first lines of the data.
            Sums[16 * worker] = Read((float*)(Data + 256 * first), end - first);
        }
    }

    // 24 independent chains hide the latency of any processor's multiply-add; x · 0.5 + 0.5 stays near 1.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Chains<TSimd, TVector>(float* result) where TSimd : ISimd<TVector> where TVector : unmanaged
    {
        TVector half = TSimd.Broadcast(0.5f);
        TVector a0 = half, a1 = half, a2 = half, a3 = half, a4 = half, a5 = half, a6 = half, a7 = half;
        TVector b0 = half, b1 = half, b2 = half, b3 = half, b4 = half, b5 = half, b6 = half, b7 = half;
        TVector c0 = half, c1 = half, c2 = half, c3 = half, c4 = half, c5 = half, c6 = half, c7 = half;
        for (int round = 0; round < Rounds; round++)
        {
            a0 = TSimd.MultiplyAdd(a0, half, half);
            a1 = TSimd.MultiplyAdd(a1, half, half);
            a2 = TSimd.MultiplyAdd(a2, half, half);
            a3 = TSimd.MultiplyAdd(a3, half, half);
            a4 = TSimd.MultiplyAdd(a4, half, half);
            a5 = TSimd.MultiplyAdd(a5, half, half);
            a6 = TSimd.MultiplyAdd(a6, half, half);
            a7 = TSimd.MultiplyAdd(a7, half, half);
            b0 = TSimd.MultiplyAdd(b0, half, half);
            b1 = TSimd.MultiplyAdd(b1, half, half);
            b2 = TSimd.MultiplyAdd(b2, half, half);
            b3 = TSimd.MultiplyAdd(b3, half, half);
            b4 = TSimd.MultiplyAdd(b4, half, half);
            b5 = TSimd.MultiplyAdd(b5, half, half);
            b6 = TSimd.MultiplyAdd(b6, half, half);
            b7 = TSimd.MultiplyAdd(b7, half, half);
            c0 = TSimd.MultiplyAdd(c0, half, half);
            c1 = TSimd.MultiplyAdd(c1, half, half);
            c2 = TSimd.MultiplyAdd(c2, half, half);
            c3 = TSimd.MultiplyAdd(c3, half, half);
            c4 = TSimd.MultiplyAdd(c4, half, half);
            c5 = TSimd.MultiplyAdd(c5, half, half);
            c6 = TSimd.MultiplyAdd(c6, half, half);
            c7 = TSimd.MultiplyAdd(c7, half, half);
        }
        TVector a = TSimd.Add(TSimd.Add(TSimd.Add(a0, a1), TSimd.Add(a2, a3)), TSimd.Add(TSimd.Add(a4, a5), TSimd.Add(a6, a7)));
        TVector b = TSimd.Add(TSimd.Add(TSimd.Add(b0, b1), TSimd.Add(b2, b3)), TSimd.Add(TSimd.Add(b4, b5), TSimd.Add(b6, b7)));
        TVector c = TSimd.Add(TSimd.Add(TSimd.Add(c0, c1), TSimd.Add(c2, c3)), TSimd.Add(TSimd.Add(c4, c5), TSimd.Add(c6, c7)));
        *result = TSimd.Sum(TSimd.Add(a, TSimd.Add(b, c)));
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Read(float* data, long lines)
    {
        Vector256<float> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        Vector256<float> sum4 = default, sum5 = default, sum6 = default, sum7 = default;
        for (long i = 0; i < lines; i++, data += 64)
        {
            sum0 += Vector256.Load(data);
            sum1 += Vector256.Load(data + 8);
            sum2 += Vector256.Load(data + 16);
            sum3 += Vector256.Load(data + 24);
            sum4 += Vector256.Load(data + 32);
            sum5 += Vector256.Load(data + 40);
            sum6 += Vector256.Load(data + 48);
            sum7 += Vector256.Load(data + 56);
        }
        return Vector256.Sum(sum0 + sum1 + (sum2 + sum3) + (sum4 + sum5 + (sum6 + sum7)));
    }
}
