using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>float32 as it is.</summary>
internal readonly struct Float32Storage : IStorage<float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(float value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Store(float value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load4(ArrayView<float> view, long quad) => view.Cast<Float4>()[quad];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store4(ArrayView<float> view, long quad, Float4 value) => view.Cast<Float4>()[quad] = value;
}
