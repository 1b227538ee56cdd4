using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>
/// Elements stored as binary16 that are finite but for damaged ones: widening takes fewer instructions than in
/// <see cref="Float16Source{TSimd, TVector}"/>, and a loop that saw an infinity or a NaN is done again with that.
/// </summary>
internal readonly unsafe struct FiniteFloat16Source<TSimd, TVector> : ISource<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Size => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, long index) => TSimd.LoadFiniteFloat16((ushort*)row + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadOne(byte* row, long index) => (float)((Half*)row)[index];

    // Adding one to an exponent of all ones, and to no other, carries into the sign bit.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<ushort> Watch(Vector256<ushort> seen, byte* row, long index)
    {
        ushort* values = (ushort*)row + index;
        Vector256<ushort> bits = TSimd.Width == 16 ? Vector256.Load(values)
            : TSimd.Width == 8 ? Vector128.Load(values).ToVector256Unsafe()
            : Vector128.CreateScalar(*(ulong*)values).AsUInt16().ToVector256Unsafe();
        return seen | ((bits + Vector256.Create((ushort)0x0400)) ^ bits);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTrusted(Vector256<ushort> seen)
    {
        ulong signs = TSimd.Width == 16
            ? Vector256.ExtractMostSignificantBits(seen)
            : Vector128.ExtractMostSignificantBits(seen.GetLower()) & ((1u << TSimd.Width) - 1);
        return signs == 0;
    }
}
