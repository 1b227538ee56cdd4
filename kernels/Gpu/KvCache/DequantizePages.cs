using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>Reads whole pages of codes: <c>x = code · scale + minimum</c>. A thread has one element of a key or a value.</summary>
internal static class DequantizePages
{
    /// <summary>The kernel; a thread for each element of the keys and values of each page.</summary>
    public static void ReadPages<T, TStorage>(QuantizePages.Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        long item = (long)Grid.IdxX * QuantizePages.Threads + Group.IdxX;
        if (item < p.Items)
        {
            int width = p.HeadDim + p.ValueHeadDim, column = (int)(item % width);
            int t = (int)(item / width % p.PageSize), page = (int)(item / width / p.PageSize);
            long source = p.SourcePages[page];
            int target = p.TargetPages[page];
            int perByte = 8 / p.Codes.Bits, mask = (1 << p.Codes.Bits) - 1;
            if (column < p.HeadDim)
            {
                int code = p.Codes.Key[source * p.Codes.KeyPageStride + t * p.Codes.KeyRowStride + column / perByte];
                float scale = Float16Storage.Load(p.Codes.KeyScale[source * p.Codes.KeyScaleStride + column]);
                float minimum = Float16Storage.Load(p.Codes.KeyMinimum[source * p.Codes.KeyMinimumStride + column]);
                float x = (code >> (column % perByte * p.Codes.Bits) & mask) * scale + minimum;
                p.Key.Data[p.Key.Offset(target, t, 0) + column] = TStorage.Store(x);
            }
            else
            {
                column -= p.HeadDim;
                int group = column / PageCodes.GroupSize;
                int code = p.Codes.Value[source * p.Codes.ValuePageStride + t * p.Codes.ValueRowStride + column / perByte];
                float scale = Float16Storage.Load(
                    p.Codes.ValueScale[source * p.Codes.ValueScalePageStride + t * p.Codes.ValueScaleRowStride + group]);
                float minimum = Float16Storage.Load(
                    p.Codes.ValueMinimum[source * p.Codes.ValueMinimumPageStride + t * p.Codes.ValueMinimumRowStride + group]);
                float x = (code >> (column % perByte * p.Codes.Bits) & mask) * scale + minimum;
                p.Value.Data[p.Value.Offset(target, t, 0) + column] = TStorage.Store(x);
            }
        }
    }
}
