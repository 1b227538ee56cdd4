using System.Runtime.CompilerServices;

namespace KernelEngine;

/// <summary>
/// Shape and strides of a tensor of rank 0 to 4. Strides are in elements, never negative and never assumed: a transposed
/// or sliced tensor is the same memory under another layout. A value type, so that making one costs no allocation.
/// </summary>
public readonly struct TensorLayout : IEquatable<TensorLayout>
{
    /// <summary>The highest rank.</summary>
    public const int MaxRank = 4;

    private readonly Dimensions _lengths;
    private readonly Dimensions _strides;

    /// <summary>Makes a layout from lengths and strides of the same count.</summary>
    /// <exception cref="ArgumentException">More than <see cref="MaxRank"/> dimensions, counts that differ, a negative number,
    /// or a span of elements that does not fit 63 bits.</exception>
    public TensorLayout(ReadOnlySpan<long> lengths, ReadOnlySpan<long> strides)
    {
        if (lengths.Length > MaxRank)
            throw new ArgumentException($"A tensor has at most {MaxRank} dimensions but {lengths.Length} were given.", nameof(lengths));
        if (strides.Length != lengths.Length)
            throw new ArgumentException($"strides must have one entry a dimension ({lengths.Length}) but has {strides.Length}.", nameof(strides));
        Rank = lengths.Length;
        long count = 1, span = 1;
        for (int i = 0; i < Rank; i++)
        {
            if (lengths[i] < 0)
                throw new ArgumentException($"Dimension {i} must not be negative but is {lengths[i]}.", nameof(lengths));
            if (strides[i] < 0)
                throw new ArgumentException($"Stride {i} must not be negative but is {strides[i]}.", nameof(strides));
            _lengths[i] = lengths[i];
            _strides[i] = strides[i];
            try
            {
                count = checked(count * lengths[i]);
                span = checked(span + (Math.Max(lengths[i], 1) - 1) * strides[i]);
            }
            catch (OverflowException)
            {
                throw new ArgumentException($"The shape {FormatShape(lengths)} does not fit 63-bit sizes.", nameof(lengths));
            }
        }
        Count = count;
        Span = count == 0 ? 0 : span;
    }

    /// <summary>The row-major layout of a shape: last dimension contiguous.</summary>
    public static TensorLayout Contiguous(params ReadOnlySpan<long> lengths)
    {
        Span<long> strides = stackalloc long[Math.Min(lengths.Length, MaxRank)];
        long stride = 1;
        for (int i = strides.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride = stride > long.MaxValue / Math.Max(lengths[i], 1) ? long.MaxValue : stride * Math.Max(lengths[i], 1);
        }
        return new TensorLayout(lengths, lengths.Length > MaxRank ? default : strides);
    }

    /// <summary>Number of dimensions.</summary>
    public int Rank { get; }

    /// <summary>Number of elements, the product of the lengths.</summary>
    public long Count { get; }

    /// <summary>Elements from the first to one past the last in memory; at most <see cref="Count"/> only when nothing is skipped.</summary>
    public long Span { get; }

    /// <summary>Length of dimension <paramref name="dimension"/>.</summary>
    public long this[int dimension] => dimension < Rank ? _lengths[dimension] : throw new ArgumentOutOfRangeException(nameof(dimension));

    /// <summary>Elements between neighbours along <paramref name="dimension"/>.</summary>
    public long Stride(int dimension) => dimension < Rank ? _strides[dimension] : throw new ArgumentOutOfRangeException(nameof(dimension));

    /// <summary>True when the elements of the last dimension are neighbours in memory (or there is at most one).</summary>
    public bool IsLastContiguous => Rank == 0 || _strides[Rank - 1] == 1 || _lengths[Rank - 1] <= 1;

    /// <summary>True when the elements lie in row-major order without gaps.</summary>
    public bool IsContiguous
    {
        get
        {
            long stride = 1;
            for (int i = Rank - 1; i >= 0; i--)
            {
                if (_lengths[i] != 1 && _strides[i] != stride)
                    return Count == 0;
                stride *= _lengths[i];
            }
            return true;
        }
    }

    /// <summary>Keeps the elements <c>start .. start + length</c> of one dimension.</summary>
    /// <returns>The narrower layout and the element offset of its first element.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie inside the dimension.</exception>
    public (TensorLayout Layout, long Offset) Slice(int dimension, long start, long length)
    {
        if ((ulong)start > (ulong)this[dimension] || (ulong)length > (ulong)(this[dimension] - start))
            throw new ArgumentOutOfRangeException(nameof(start), $"The slice {start}..{start + length} leaves dimension {dimension} of length {this[dimension]}.");
        Dimensions lengths = _lengths;
        lengths[dimension] = length;
        return (new TensorLayout(((ReadOnlySpan<long>)lengths)[..Rank], ((ReadOnlySpan<long>)_strides)[..Rank]), length == 0 ? 0 : start * _strides[dimension]);
    }

    /// <summary>Splits a dimension in two: [.., n, ..] becomes [.., n / inner, inner, ..].</summary>
    /// <exception cref="ArgumentException">The dimension is no multiple of <paramref name="inner"/>, or the rank is full.</exception>
    public TensorLayout Split(int dimension, long inner)
    {
        if (inner < 1 || this[dimension] % inner != 0)
            throw new ArgumentException($"Dimension {dimension} of {this} cannot be split into parts of {inner}.", nameof(inner));
        if (Rank == MaxRank)
            throw new ArgumentException($"A tensor has at most {MaxRank} dimensions and {this} has them all.", nameof(dimension));
        Span<long> lengths = stackalloc long[Rank + 1], strides = stackalloc long[Rank + 1];
        for (int i = 0; i < Rank; i++)
        {
            int at = i <= dimension ? i : i + 1;
            (lengths[at], strides[at]) = (_lengths[i], _strides[i]);
        }
        (lengths[dimension], strides[dimension]) = (this[dimension] / inner, checked(Stride(dimension) * inner));
        (lengths[dimension + 1], strides[dimension + 1]) = (inner, Stride(dimension));
        return new TensorLayout(lengths, strides);
    }

    /// <summary>Joins a dimension with the next: [.., n, m, ..] becomes [.., n · m, ..].</summary>
    /// <exception cref="ArgumentException">The elements of the joined dimension would not be evenly spaced.</exception>
    public TensorLayout Join(int dimension)
    {
        long outer = this[dimension], inner = this[dimension + 1];
        if (outer > 1 && inner > 0 && Stride(dimension) != inner * Stride(dimension + 1))
            throw new ArgumentException($"Dimensions {dimension} and {dimension + 1} of {this} cannot be joined without a copy: there are gaps.", nameof(dimension));
        Span<long> lengths = stackalloc long[Rank - 1], strides = stackalloc long[Rank - 1];
        for (int i = 0; i < Rank - 1; i++)
        {
            int from = i < dimension ? i : i + 1;
            (lengths[i], strides[i]) = (_lengths[from], _strides[from]);
        }
        lengths[dimension] = checked(outer * inner);
        return new TensorLayout(lengths, strides);
    }

    /// <summary>Swaps two dimensions without moving an element.</summary>
    public TensorLayout Transpose(int first, int second)
    {
        Dimensions lengths = _lengths, strides = _strides;
        (lengths[first], lengths[second]) = (this[second], this[first]);
        (strides[first], strides[second]) = (Stride(second), Stride(first));
        return new TensorLayout(((ReadOnlySpan<long>)lengths)[..Rank], ((ReadOnlySpan<long>)strides)[..Rank]);
    }

    /// <summary>True when both have the same lengths, whatever their strides.</summary>
    public bool HasSameShape(in TensorLayout other)
    {
        if (Rank != other.Rank)
            return false;
        for (int i = 0; i < Rank; i++)
        {
            if (_lengths[i] != other._lengths[i])
                return false;
        }
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(TensorLayout other)
    {
        if (!HasSameShape(other))
            return false;
        for (int i = 0; i < Rank; i++)
        {
            if (_strides[i] != other._strides[i])
                return false;
        }
        return true;
    }

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is TensorLayout other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Rank, Count, Span);

    /// <summary>Same shape and strides.</summary>
    public static bool operator ==(TensorLayout left, TensorLayout right) => left.Equals(right);

    /// <summary>Another shape or other strides.</summary>
    public static bool operator !=(TensorLayout left, TensorLayout right) => !left.Equals(right);

    /// <summary>The shape as messages print it: <c>[2, 3]</c>.</summary>
    public override string ToString() => FormatShape(((ReadOnlySpan<long>)_lengths)[..Rank]);

    private static string FormatShape(ReadOnlySpan<long> lengths) => $"[{string.Join(", ", lengths.ToArray())}]";

    [InlineArray(MaxRank)]
    private struct Dimensions
    {
        private long _element;
    }
}
