using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// Rotary position embedding in place (Su et al. 2021, arXiv:2104.09864): <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>.
/// Each thread turns one pair.
/// </summary>
internal static class Rotary
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public ArrayView<T> Values;         // [tokens, heads, headDim]
        public long TokenStride, HeadStride;
        public MatrixView<float> Cos, Sin;  // [maxPosition, rotaryDim / 2]
        public long Pairs;                  // tokens · heads · rotaryDim / 2
        public int Heads, HalfDim, Start, IsInterleaved;
    }

    /// <summary>The kernel; one group for each 128 pairs.</summary>
    public static void RotaryPairs<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        long pair = (long)Grid.IdxX * Threads + Group.IdxX;
        if (pair < p.Pairs)
        {
            int i = (int)(pair % p.HalfDim);
            long row = pair / p.HalfDim;
            long token = row / p.Heads;
            long head = token * p.TokenStride + row % p.Heads * p.HeadStride;
            long first = head + (p.IsInterleaved != 0 ? 2 * i : i), second = head + (p.IsInterleaved != 0 ? 2 * i + 1 : i + p.HalfDim);
            float cos = p.Cos.Data[(p.Start + token) * p.Cos.RowStride + i], sin = p.Sin.Data[(p.Start + token) * p.Sin.RowStride + i];
            float x = TStorage.Load(p.Values[first]), y = TStorage.Load(p.Values[second]);
            p.Values[first] = TStorage.Store(x * cos - y * sin);
            p.Values[second] = TStorage.Store(y * cos + x * sin);
        }
    }
}
