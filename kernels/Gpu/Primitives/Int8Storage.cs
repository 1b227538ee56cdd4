using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>Signed bytes, the quantised rows of a cache. What scale they carry is the kernel's business.</summary>
internal readonly struct Int8Storage : IStorage<sbyte>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(sbyte value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static sbyte Store(float value) => (sbyte)Narrow(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load4(ArrayView<sbyte> view, long quad)
    {
        int packed = view.Cast<int>()[quad];
        return new Float4((packed << 24) >> 24, (packed << 16) >> 24, (packed << 8) >> 24, packed >> 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store4(ArrayView<sbyte> view, long quad, Float4 value) => view.Cast<int>()[quad] =
        (Narrow(value.X) & 255) | ((Narrow(value.Y) & 255) << 8) | ((Narrow(value.Z) & 255) << 16) | (Narrow(value.W) << 24);

    // To nearest, ties to even: adding 1.5 · 2^23 leaves the integer in the lowest bits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Narrow(float value)
    {
        float clamped = value > 127f ? 127f : value > -128f ? value : -128f;
        return ((int)Interop.FloatAsInt(clamped + 12582912f) << 8) >> 8;
    }
}
