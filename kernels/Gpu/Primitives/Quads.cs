using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>Loads and stores of four neighbouring elements that also serve rows which are short or not aligned.</summary>
internal static class Quads
{
    /// <summary>Elements offset .. offset + 3, of which the first <paramref name="valid"/> exist (may be negative); the others are 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load<T, TStorage>(ArrayView<T> data, long offset, int valid, int hasQuads)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        var result = new Float4(0f, 0f, 0f, 0f);
        if (hasQuads != 0)
        {
            if (valid > 0)
                result = TStorage.Load4(data, offset >> 2);
        }
        else
        {
            if (valid > 0)
                result.X = TStorage.Load(data[offset]);
            if (valid > 1)
                result.Y = TStorage.Load(data[offset + 1]);
            if (valid > 2)
                result.Z = TStorage.Load(data[offset + 2]);
            if (valid > 3)
                result.W = TStorage.Load(data[offset + 3]);
        }
        return result;
    }

    /// <summary>Stores the first <paramref name="valid"/> of four elements at <paramref name="offset"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T, TStorage>(ArrayView<T> data, long offset, int valid, int hasQuads, Float4 value)
        where T : unmanaged where TStorage : struct, IStorage<T>
    {
        if (hasQuads != 0)
        {
            if (valid > 0)
                TStorage.Store4(data, offset >> 2, value);
        }
        else
        {
            if (valid > 0)
                data[offset] = TStorage.Store(value.X);
            if (valid > 1)
                data[offset + 1] = TStorage.Store(value.Y);
            if (valid > 2)
                data[offset + 2] = TStorage.Store(value.Z);
            if (valid > 3)
                data[offset + 3] = TStorage.Store(value.W);
        }
    }
}
