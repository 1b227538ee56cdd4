using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// A tensor as operations take it: a storage, the byte where it begins, a data type and a layout. A value: slicing one
/// allocates nothing. The default value stands for an optional operand that is left out. Bounds are proved when it is made.
/// </summary>
public readonly struct TensorView
{
    /// <summary>Makes a view after checking that it lies inside the storage.</summary>
    /// <param name="storage">The memory.</param>
    /// <param name="byteOffset">Where the first element begins.</param>
    /// <param name="type">How elements are stored.</param>
    /// <param name="layout">Shape and strides.</param>
    /// <param name="isReadOnly">True when operations must not write it.</param>
    /// <exception cref="ArgumentException">The view leaves the storage or begins at an odd address for its type.</exception>
    public TensorView(TensorStorage storage, long byteOffset, DataType type, TensorLayout layout, bool isReadOnly = false)
    {
        ArgumentNullException.ThrowIfNull(storage);
        if (layout.Span > (long.MaxValue - Math.Max(byteOffset, 0)) / type.SizeInBytes()
            || byteOffset < 0 || byteOffset + layout.Span * type.SizeInBytes() > storage.Bytes)
        {
            throw new ArgumentException(
                $"A view of {layout} {type.ToText()} that begins at byte {byteOffset} and spans {layout.Span} elements does not fit the storage of {storage.Bytes} bytes.",
                nameof(layout));
        }
        if (byteOffset % type.SizeInBytes() != 0)
            throw new ArgumentException($"A view of {type.ToText()} cannot begin at byte {byteOffset}.", nameof(byteOffset));
        Storage = storage;
        ByteOffset = byteOffset;
        Type = type;
        Layout = layout;
        IsReadOnly = isReadOnly;
    }

    /// <summary>The memory, or null for an operand that is left out.</summary>
    public TensorStorage? Storage { get; }

    /// <summary>Where the first element begins.</summary>
    public long ByteOffset { get; }

    /// <summary>How elements are stored.</summary>
    public DataType Type { get; }

    /// <summary>Shape and strides.</summary>
    public TensorLayout Layout { get; }

    /// <summary>True when the memory belongs to somebody who lets it be read only.</summary>
    public bool IsReadOnly { get; }

    /// <summary>False for the default value.</summary>
    public bool IsPresent => Storage is not null;

    /// <summary>One past the last byte that an element of this view occupies.</summary>
    internal long ByteEnd => ByteOffset + Layout.Span * Type.SizeInBytes();

    /// <summary>Length of dimension <paramref name="dimension"/>.</summary>
    public long this[int dimension] => Layout[dimension];

    /// <summary>Keeps the elements start .. start + length of one dimension.</summary>
    public TensorView Slice(int dimension, long start, long length)
    {
        (TensorLayout layout, long offset) = Layout.Slice(dimension, start, length);
        return new TensorView(Present, ByteOffset + offset * Type.SizeInBytes(), Type, layout, IsReadOnly);
    }

    /// <summary>Swaps two dimensions without moving an element.</summary>
    public TensorView Transpose(int first, int second) => new(Present, ByteOffset, Type, Layout.Transpose(first, second), IsReadOnly);

    /// <summary>The same elements in another shape; both must be contiguous.</summary>
    /// <exception cref="ArgumentException">The view has gaps, or the counts differ.</exception>
    public TensorView Reshape(params ReadOnlySpan<long> lengths)
    {
        TensorLayout layout = TensorLayout.Contiguous(lengths);
        if (!Layout.IsContiguous || layout.Count != Layout.Count)
            throw new ArgumentException($"A view of shape {Layout} cannot be reshaped to {layout} without a copy.", nameof(lengths));
        return new TensorView(Present, ByteOffset, Type, layout, IsReadOnly);
    }

    /// <summary>Splits a dimension in two: [.., n, ..] becomes [.., n / inner, inner, ..]. No element moves, whatever the strides.</summary>
    /// <exception cref="ArgumentException">The dimension is no multiple of <paramref name="inner"/>, or the rank is full.</exception>
    public TensorView Split(int dimension, long inner) => new(Present, ByteOffset, Type, Layout.Split(dimension, inner), IsReadOnly);

    /// <summary>Joins a dimension with the next, the inverse of <see cref="Split"/>: [.., n, m, ..] becomes [.., n · m, ..].</summary>
    /// <exception cref="ArgumentException">Stepping from one row of the second to the next leaves a gap.</exception>
    public TensorView Join(int dimension) => new(Present, ByteOffset, Type, Layout.Join(dimension), IsReadOnly);

    /// <summary>Waits for the device and returns the elements in row-major order, whatever the strides.</summary>
    /// <exception cref="ArgumentException">Another element type.</exception>
    public T[] ToArray<T>() where T : unmanaged
    {
        if (DataTypes.Of<T>() != Type)
            throw new ArgumentException($"The view holds {Type.ToText()} but {typeof(T).Name} was asked for.");
        var span = new T[Layout.Span];
        if (span.Length == 0)
            return [];
        Present.Read(ByteOffset, MemoryMarshal.AsBytes(span.AsSpan()));
        if (Layout.IsContiguous)
            return span;
        var values = new T[Layout.Count];
        var index = new long[Layout.Rank];
        for (long i = 0, at = 0; i < values.Length; i++)
        {
            values[i] = span[at];
            for (int dimension = Layout.Rank - 1; dimension >= 0; dimension--)
            {
                at += Layout.Stride(dimension);
                if (++index[dimension] < Layout[dimension])
                    break;
                at -= index[dimension] * Layout.Stride(dimension);
                index[dimension] = 0;
            }
        }
        return values;
    }

    private TensorStorage Present => Storage ?? throw new InvalidOperationException("This view is empty.");
}
