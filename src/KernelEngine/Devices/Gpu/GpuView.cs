using ILGPU;
using ILGPU.Runtime;
using KernelEngine.Kernels.Gpu.Primitives;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>What a GPU launcher sees of a tensor: its memory from the first element on, a data type and a layout.</summary>
internal readonly struct GpuView(ArrayView<byte> data, long byteOffset, DataType type, TensorLayout layout)
{
    /// <summary>Memory that begins with the first element.</summary>
    public readonly ArrayView<byte> Data = data;

    /// <summary>How elements are stored.</summary>
    public readonly DataType Type = type;

    /// <summary>Shape and strides.</summary>
    public readonly TensorLayout Layout = layout;

    /// <summary>False for an optional operand that was not given.</summary>
    public bool IsPresent => Data.IsValid;

    /// <summary>The view as elements of type <typeparamref name="T"/> (ushort for both 16-bit formats).</summary>
    public ArrayView<T> As<T>() where T : unmanaged => Data.Cast<T>();

    /// <summary>As kernels see activations: [batchSize, tokens, heads, dim].</summary>
    public TokenTensor<T> AsTokens<T>() where T : unmanaged => new()
    {
        Data = As<T>(),
        BatchStride = Layout.Stride(0),
        TokenStride = Layout.Stride(1),
        HeadStride = Layout.Stride(2),
        HasQuads = HasQuads ? 1 : 0,
    };

    /// <summary>As inline code sees activations of 16 bits: [batchSize, tokens, heads, dim]; an absent one has address 0.</summary>
    public TokenAddress AsTokenAddress() => !IsPresent ? default : new()
    {
        Address = Address,
        BatchStride = Layout.Stride(0),
        TokenStride = Layout.Stride(1),
        HeadStride = Layout.Stride(2),
    };

    /// <summary>As kernels see a matrix: [rows, columns].</summary>
    public MatrixView<T> AsMatrix<T>() where T : unmanaged => new()
    {
        Data = As<T>(),
        RowStride = Layout.Stride(0),
        HasQuads = HasQuads ? 1 : 0,
    };

    /// <summary>As inline code sees a matrix of 16 bits: [rows, columns].</summary>
    public MatrixAddress AsMatrixAddress() => new()
    {
        Address = Address,
        Stride = Layout.Stride(0),
        Rows = (int)Layout[0],
        Columns = (int)Layout[1],
    };

    /// <summary>True when every row begins on four elements and is a multiple of four long. Storages begin on 16 bytes.</summary>
    public bool HasQuads => HasRowsOf(4);

    /// <summary>Whether all that are present have <see cref="HasRowsOf"/> so many elements.</summary>
    public static bool AllHaveRowsOf(int elements, ReadOnlySpan<GpuView> views)
    {
        foreach (GpuView view in views)
        {
            if (view.IsPresent && !view.HasRowsOf(elements))
                return false;
        }
        return true;
    }

    /// <summary>True when every row begins on a multiple of so many elements and is a multiple of it long.</summary>
    public bool HasRowsOf(int elements)
    {
        if (byteOffset % (elements * Type.SizeInBytes()) != 0 || Layout[Layout.Rank - 1] % elements != 0)
            return false;
        for (int i = 0; i < Layout.Rank - 1; i++)
        {
            if (Layout[i] > 1 && Layout.Stride(i) % elements != 0)
                return false;
        }
        return true;
    }

    /// <summary>The first element's address on the device; 0 for an optional operand that was not given.</summary>
    public long Address => IsPresent ? AddressOf(Data) : 0;

    /// <summary>Where memory begins on the device.</summary>
    public static long AddressOf(ArrayView<byte> memory) => memory.LoadEffectiveAddressAsPtr();
}
