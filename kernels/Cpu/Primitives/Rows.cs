using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Moves rows of stored elements into float32, and into the panels that <see cref="MatrixTile{TSimd, TVector}"/> reads.</summary>
internal static unsafe class Rows<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int TransposeDepth = 64; // by 64 columns: 16 KiB

    /// <summary>The whole vectors that hold <paramref name="count"/> floats, in floats.</summary>
    public static int Padded(int count) => checked(count + TSimd.Width - 1) / TSimd.Width * TSimd.Width;

    /// <summary>Widens <paramref name="count"/> stored elements to float32.</summary>
    public static void Widen(void* source, DataType type, long count, float* target)
    {
        long i = 0;
        switch (type)
        {
            case DataType.Float32:
                Unsafe.CopyBlockUnaligned(target, source, checked((uint)(count * sizeof(float))));
                break;
            case DataType.Float16:
                for (; i <= count - TSimd.Width; i += TSimd.Width)
                    TSimd.Store(TSimd.LoadFloat16((ushort*)source + i), target + i);
                for (; i < count; i++)
                    target[i] = (float)((Half*)source)[i];
                break;
            case DataType.Int8:
                for (; i <= count - TSimd.Width; i += TSimd.Width)
                    TSimd.Store(TSimd.LoadInt8((sbyte*)source + i), target + i);
                for (; i < count; i++)
                    target[i] = ((sbyte*)source)[i];
                break;
            default:
                for (; i <= count - TSimd.Width; i += TSimd.Width)
                    TSimd.Store(TSimd.LoadBFloat16((ushort*)source + i), target + i);
                for (; i < count; i++)
                    target[i] = ((BFloat16*)source)[i].ToSingle();
                break;
        }
    }

    /// <summary>Rounds <paramref name="count"/> float32 numbers to a storage type, to nearest even.</summary>
    public static void Narrow(float* source, long count, void* target, DataType type)
    {
        long i = 0;
        switch (type)
        {
            case DataType.Float32:
                Unsafe.CopyBlockUnaligned(target, source, checked((uint)(count * sizeof(float))));
                break;
            case DataType.Float16:
                for (; i <= count - TSimd.Width; i += TSimd.Width)
                    TSimd.StoreFloat16(TSimd.Load(source + i), (ushort*)target + i);
                for (; i < count; i++)
                    ((Half*)target)[i] = (Half)source[i];
                break;
            default:
                for (; i <= count - TSimd.Width; i += TSimd.Width)
                    TSimd.StoreBFloat16(TSimd.Load(source + i), (ushort*)target + i);
                for (; i < count; i++)
                    ((BFloat16*)target)[i] = BFloat16.FromSingle(source[i]);
                break;
        }
    }

    /// <summary>target += row; nothing past <paramref name="count"/> is touched.</summary>
    public static void Add(float* row, int count, float* target)
    {
        int c = 0;
        for (; c <= count - TSimd.Width; c += TSimd.Width)
            TSimd.Store(TSimd.Add(TSimd.Load(target + c), TSimd.Load(row + c)), target + c);
        for (; c < count; c++)
            target[c] += row[c];
    }

    /// <summary>target += factor · row; nothing past <paramref name="count"/> is touched.</summary>
    public static void AddScaled(float* row, float factor, int count, float* target)
    {
        TVector f = TSimd.Broadcast(factor);
        int c = 0;
        for (; c <= count - TSimd.Width; c += TSimd.Width)
            TSimd.Store(TSimd.MultiplyAdd(TSimd.Load(row + c), f, TSimd.Load(target + c)), target + c);
        for (; c < count; c++)
            target[c] += factor * row[c];
    }

    /// <summary>The sum of the products of two rows.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static float Dot(float* a, float* b, int count)
    {
        TVector even = TSimd.Zero, odd = TSimd.Zero;
        int c = 0;
        for (; c <= count - 2 * TSimd.Width; c += 2 * TSimd.Width)
        {
            even = TSimd.MultiplyAdd(TSimd.Load(a + c), TSimd.Load(b + c), even);
            odd = TSimd.MultiplyAdd(TSimd.Load(a + c + TSimd.Width), TSimd.Load(b + c + TSimd.Width), odd);
        }
        for (; c <= count - TSimd.Width; c += TSimd.Width)
            even = TSimd.MultiplyAdd(TSimd.Load(a + c), TSimd.Load(b + c), even);
        float sum = TSimd.Sum(TSimd.Add(even, odd));
        for (; c < count; c++)
            sum += a[c] * b[c];
        return sum;
    }

    /// <summary>
    /// Transposes float32 rows into a panel: <c>panel[k, n] = rows[n, k]</c> for n below <paramref name="rows"/>, zero up to
    /// <paramref name="width"/> (a multiple of 4).
    /// </summary>
    /// <param name="source">First row.</param>
    /// <param name="stride">Floats between rows.</param>
    /// <param name="rows">Rows that exist, at most <paramref name="width"/>.</param>
    /// <param name="depth">Elements of each row.</param>
    /// <param name="panel">Target, <paramref name="depth"/> · <paramref name="width"/> floats.</param>
    /// <param name="width">Width of the panel.</param>
    public static void Transpose(float* source, long stride, int rows, long depth, float* panel, int width) =>
        Transpose(source, stride, rows, depth, panel, width, width);

    /// <summary>Transposes into a panel whose rows are <paramref name="panelStride"/> floats apart.</summary>
    public static void Transpose(float* source, long stride, int rows, long depth, float* panel, int width, int panelStride)
    {
        // A slice of the panel stays in the first-level cache while every group of rows writes its part of each line.
        // The next slice is on its way meanwhile: no prefetcher of the processor follows that many rows at once.
        for (long k0 = 0; k0 < depth; k0 += TransposeDepth)
        {
            Vectors.PrefetchRows(source + k0 + TransposeDepth, stride, rows, (int)Math.Min(TransposeDepth, Math.Max(0, depth - k0 - TransposeDepth)));
            TransposeSlice(source + k0, stride, rows, Math.Min(TransposeDepth, depth - k0), panel + k0 * panelStride, width, panelStride);
        }
    }

    private static void TransposeSlice(float* source, long stride, int rows, long depth, float* panel, int width, int panelStride)
    {
        int n = 0;
        for (; n <= rows - 4; n += 4)
        {
            float* r0 = source + n * stride, r1 = r0 + stride, r2 = r1 + stride, r3 = r2 + stride;
            float* target = panel + n;
            long k = 0;
            for (; k <= depth - 4; k += 4, target += 4 * panelStride)
            {
                Vector128<float> v0 = Vector128.Load(r0 + k), v1 = Vector128.Load(r1 + k);
                Vector128<float> v2 = Vector128.Load(r2 + k), v3 = Vector128.Load(r3 + k);
                Vector128<float> low01 = Vectors.UnpackLow(v0, v1), high01 = Vectors.UnpackHigh(v0, v1);
                Vector128<float> low23 = Vectors.UnpackLow(v2, v3), high23 = Vectors.UnpackHigh(v2, v3);
                Vectors.JoinLow(low01, low23).Store(target);
                Vectors.JoinHigh(low01, low23).Store(target + panelStride);
                Vectors.JoinLow(high01, high23).Store(target + 2 * panelStride);
                Vectors.JoinHigh(high01, high23).Store(target + 3 * panelStride);
            }
            for (; k < depth; k++, target += panelStride)
                (target[0], target[1], target[2], target[3]) = (r0[k], r1[k], r2[k], r3[k]);
        }
        for (; n < width; n++)
        {
            float* row = source + n * stride;
            for (long k = 0; k < depth; k++)
                panel[k * panelStride + n] = n < rows ? row[k] : 0f;
        }
    }
}
