using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>The L2 norm of a stored row.</summary>
internal static unsafe class RowNorm<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <summary>√Σ x² of a row of <paramref name="size"/> elements, without the row's scale.</summary>
    public static float Of(byte* row, DataType type, long size) => MathF.Sqrt(type switch
    {
        DataType.Float32 => SumOfSquares<Float32Source<TSimd, TVector>>(row, size),
        DataType.Float16 => SumOfSquares<Float16Source<TSimd, TVector>>(row, size),
        DataType.Int8 => SumOfSquares<Int8Source<TSimd, TVector>>(row, size),
        _ => SumOfSquares<BFloat16Source<TSimd, TVector>>(row, size),
    });

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float SumOfSquares<TSource>(byte* row, long size) where TSource : struct, ISource<TVector>
    {
        TVector sum0 = TSimd.Zero, sum1 = TSimd.Zero;
        int w = TSimd.Width;
        long i = 0;
        for (; i <= size - 2 * w; i += 2 * w)
        {
            TVector x0 = TSource.Load(row, i), x1 = TSource.Load(row, i + w);
            sum0 = TSimd.MultiplyAdd(x0, x0, sum0);
            sum1 = TSimd.MultiplyAdd(x1, x1, sum1);
        }
        for (; i <= size - w; i += w)
        {
            TVector x = TSource.Load(row, i);
            sum0 = TSimd.MultiplyAdd(x, x, sum0);
        }
        float sum = TSimd.Sum(TSimd.Add(sum0, sum1));
        for (; i < size; i++)
        {
            float x = TSource.LoadOne(row, i);
            sum += x * x;
        }
        return sum;
    }
}
