using System.Runtime.CompilerServices;
using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>
/// IEEE binary16 held as ushort and converted with integer arithmetic, so that a device needs no half-precision extension.
/// Subnormals, infinities and NaNs are exact also on devices that flush float32 subnormals to zero.
/// </summary>
internal readonly struct Float16Storage : IStorage<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(ushort value) => Widen(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Store(float value) => (ushort)Narrow(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load4(ArrayView<ushort> view, long quad)
    {
        PackedHalves packed = view.Cast<PackedHalves>()[quad];
        return new Float4(Widen(packed.Low & 0xFFFFu), Widen(packed.Low >> 16), Widen(packed.High & 0xFFFFu), Widen(packed.High >> 16));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store4(ArrayView<ushort> view, long quad, Float4 value) => view.Cast<PackedHalves>()[quad] = new PackedHalves
    {
        Low = Narrow(value.X) | (Narrow(value.Y) << 16),
        High = Narrow(value.Z) | (Narrow(value.W) << 16),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Widen(uint half)
    {
        uint exponent = (half >> 10) & 31u, mantissa = half & 0x3FFu;
        uint normal = ((exponent + 112u) << 23) | (mantissa << 13);
        uint subnormal = Interop.FloatAsInt((int)mantissa * 5.9604644775390625e-8f); // 2^-24: a normal float32, or zero
        uint special = 0x7F800000u | (mantissa << 13);
        uint magnitude = exponent == 0u ? subnormal : exponent == 31u ? special : normal;
        return Interop.IntAsFloat(magnitude | ((half & 0x8000u) << 16));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Narrow(float value)
    {
        uint bits = Interop.FloatAsInt(value);
        uint magnitude = bits & 0x7FFFFFFFu, sign = (bits >> 16) & 0x8000u;

        // Rounding up may carry into the exponent, also from the largest finite number to infinity: both are right.
        uint rebiased = magnitude - (112u << 23);
        uint normal = (rebiased + 0xFFFu + ((rebiased >> 13) & 1u)) >> 13;

        // Below 2^-14 the result counts units of 2^-24. A shift of 25 rounds every 24-bit significand to zero.
        uint exponent = magnitude >> 23;
        int shift = exponent > 101u ? 126 - (int)exponent : 25;
        shift = shift > 1 ? shift : 1; // large numbers take another branch; their shift must only be defined
        uint significand = (magnitude & 0x7FFFFFu) | 0x800000u;
        uint subnormal = (significand + ((1u << (shift - 1)) - 1u) + ((significand >> shift) & 1u)) >> shift;

        uint result = magnitude < (113u << 23) ? subnormal : normal;
        result = magnitude >= (143u << 23) ? 0x7C00u : result;
        result = magnitude > 0x7F800000u ? 0x7E00u | ((magnitude >> 13) & 0x3FFu) : result;
        return result | sign;
    }
}
