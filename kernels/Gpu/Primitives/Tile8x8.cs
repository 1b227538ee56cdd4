using System.Runtime.CompilerServices;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>An 8 × 8 block of a product that one thread accumulates: two quads of rows by two quads of columns.</summary>
internal struct Tile8x8
{
    public Tile4x4 UpperLeft, UpperRight, LowerLeft, LowerRight;

    /// <summary>Adds the outer product of eight rows and eight columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void MultiplyAdd(Float4 upper, Float4 lower, Float4 left, Float4 right)
    {
        UpperLeft.MultiplyAdd(upper, left);
        UpperRight.MultiplyAdd(upper, right);
        LowerLeft.MultiplyAdd(lower, left);
        LowerRight.MultiplyAdd(lower, right);
    }
}
