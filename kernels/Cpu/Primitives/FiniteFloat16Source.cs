using System.Runtime.CompilerServices;

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

    // Infinities and NaNs come out as 65536 and more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Watch(TVector seen, TVector loaded) => TSimd.MaxMagnitude(seen, loaded);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTrusted(TVector seen) => TSimd.MaxAcross(seen) < 65536f;
}
