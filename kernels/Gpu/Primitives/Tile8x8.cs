using System.Runtime.CompilerServices;
using ILGPU;

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

    /// <summary>Four terms of the product of two shared-memory tiles of 64 rows each, stored column after column.</summary>
    /// <param name="rows">The tile with the rows.</param>
    /// <param name="columns">The tile with the columns.</param>
    /// <param name="upper">Where the upper quad of rows of the first term lies.</param>
    /// <param name="lower">Where the lower one lies.</param>
    /// <param name="left">Where the left quad of columns lies.</param>
    /// <param name="right">Where the right one lies.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void MultiplyAddTerms(ArrayView<Float4> rows, ArrayView<Float4> columns, int upper, int lower, int left, int right)
    {
        MultiplyAdd(rows[upper], rows[lower], columns[left], columns[right]);
        MultiplyAdd(rows[upper + 16], rows[lower + 16], columns[left + 16], columns[right + 16]);
        MultiplyAdd(rows[upper + 32], rows[lower + 32], columns[left + 32], columns[right + 32]);
        MultiplyAdd(rows[upper + 48], rows[lower + 48], columns[left + 48], columns[right + 48]);
    }
}
