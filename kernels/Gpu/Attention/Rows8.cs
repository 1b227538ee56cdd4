using System.Runtime.CompilerServices;
using ILGPU.Algorithms;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>One number for each of up to eight query rows. What belongs to rows that a tile does not have is never read and costs nothing.</summary>
internal struct Rows8
{
    public float Row0, Row1, Row2, Row3, Row4, Row5, Row6, Row7;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 Broadcast(float value) => new()
    {
        Row0 = value,
        Row1 = value,
        Row2 = value,
        Row3 = value,
        Row4 = value,
        Row5 = value,
        Row6 = value,
        Row7 = value,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 Add(Rows8 a, Rows8 b) => new()
    {
        Row0 = a.Row0 + b.Row0,
        Row1 = a.Row1 + b.Row1,
        Row2 = a.Row2 + b.Row2,
        Row3 = a.Row3 + b.Row3,
        Row4 = a.Row4 + b.Row4,
        Row5 = a.Row5 + b.Row5,
        Row6 = a.Row6 + b.Row6,
        Row7 = a.Row7 + b.Row7,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 Multiply(Rows8 a, Rows8 b) => new()
    {
        Row0 = a.Row0 * b.Row0,
        Row1 = a.Row1 * b.Row1,
        Row2 = a.Row2 * b.Row2,
        Row3 = a.Row3 * b.Row3,
        Row4 = a.Row4 * b.Row4,
        Row5 = a.Row5 * b.Row5,
        Row6 = a.Row6 * b.Row6,
        Row7 = a.Row7 * b.Row7,
    };

    /// <summary>The larger of each pair; a NaN in <paramref name="b"/> is passed over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 Max(Rows8 a, Rows8 b) => new()
    {
        Row0 = b.Row0 > a.Row0 ? b.Row0 : a.Row0,
        Row1 = b.Row1 > a.Row1 ? b.Row1 : a.Row1,
        Row2 = b.Row2 > a.Row2 ? b.Row2 : a.Row2,
        Row3 = b.Row3 > a.Row3 ? b.Row3 : a.Row3,
        Row4 = b.Row4 > a.Row4 ? b.Row4 : a.Row4,
        Row5 = b.Row5 > a.Row5 ? b.Row5 : a.Row5,
        Row6 = b.Row6 > a.Row6 ? b.Row6 : a.Row6,
        Row7 = b.Row7 > a.Row7 ? b.Row7 : a.Row7,
    };

    /// <summary>0 for −∞: a row that has seen no key keeps that maximum, and −∞ − (−∞) would be NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 FiniteOrZero(Rows8 max) => new()
    {
        Row0 = max.Row0 == float.NegativeInfinity ? 0f : max.Row0,
        Row1 = max.Row1 == float.NegativeInfinity ? 0f : max.Row1,
        Row2 = max.Row2 == float.NegativeInfinity ? 0f : max.Row2,
        Row3 = max.Row3 == float.NegativeInfinity ? 0f : max.Row3,
        Row4 = max.Row4 == float.NegativeInfinity ? 0f : max.Row4,
        Row5 = max.Row5 == float.NegativeInfinity ? 0f : max.Row5,
        Row6 = max.Row6 == float.NegativeInfinity ? 0f : max.Row6,
        Row7 = max.Row7 == float.NegativeInfinity ? 0f : max.Row7,
    };

    /// <summary>2^(a − b); −∞ gives 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows8 Exp2Difference(Rows8 a, Rows8 b) => new()
    {
        Row0 = XMath.Exp2(a.Row0 - b.Row0),
        Row1 = XMath.Exp2(a.Row1 - b.Row1),
        Row2 = XMath.Exp2(a.Row2 - b.Row2),
        Row3 = XMath.Exp2(a.Row3 - b.Row3),
        Row4 = XMath.Exp2(a.Row4 - b.Row4),
        Row5 = XMath.Exp2(a.Row5 - b.Row5),
        Row6 = XMath.Exp2(a.Row6 - b.Row6),
        Row7 = XMath.Exp2(a.Row7 - b.Row7),
    };
}
