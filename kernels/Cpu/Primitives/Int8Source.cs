using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Elements stored as signed bytes; what scales them is applied to whole rows.</summary>
internal readonly unsafe struct Int8Source<TSimd, TVector> : ISource<TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    public static int Size => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load(byte* row, long index) => TSimd.LoadInt8((sbyte*)row + index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadOne(byte* row, long index) => ((sbyte*)row)[index];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Watch(TVector seen, TVector loaded) => seen;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsTrusted(TVector seen) => true;
}
