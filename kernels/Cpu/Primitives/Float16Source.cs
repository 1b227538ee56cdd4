using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Elements stored as binary16.</summary>
internal readonly unsafe struct Float16Source<TSimd, TVector> : ISource<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Size => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, long index) => TSimd.LoadFloat16((ushort*)row + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadOne(byte* row, long index) => (float)((Half*)row)[index];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Watch(TVector seen, TVector loaded) => seen;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTrusted(TVector seen) => true;
}
