using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>bfloat16 held as ushort: the upper half of a float32, converted with integer arithmetic.</summary>
internal readonly struct BFloat16Storage : IStorage<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(ushort value) => Interop.IntAsFloat((uint)value << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Store(float value) => (ushort)Narrow(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load4(ArrayView<ushort> view, long quad)
    {
        PackedHalves packed = view.Cast<PackedHalves>()[quad];
        return new Float4(
            Interop.IntAsFloat(packed.Low << 16), Interop.IntAsFloat(packed.Low & 0xFFFF0000u),
            Interop.IntAsFloat(packed.High << 16), Interop.IntAsFloat(packed.High & 0xFFFF0000u));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store4(ArrayView<ushort> view, long quad, Float4 value) => view.Cast<PackedHalves>()[quad] = new PackedHalves
    {
        Low = Narrow(value.X) | (Narrow(value.Y) << 16),
        High = Narrow(value.Z) | (Narrow(value.W) << 16),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Narrow(float value)
    {
        uint bits = Interop.FloatAsInt(value);
        uint rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
        return (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16) | 0x40u : rounded;
    }
}
