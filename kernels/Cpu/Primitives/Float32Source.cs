using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Elements stored as float32.</summary>
internal readonly unsafe struct Float32Source<TSimd, TVector> : ISource<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Size => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, long index) => TSimd.Load((float*)row + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadOne(byte* row, long index) => ((float*)row)[index];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Watch(TVector seen, TVector loaded) => seen;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTrusted(TVector seen) => true;
}
