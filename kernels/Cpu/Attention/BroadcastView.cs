namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>A bias or mask whose dimensions of length 1 repeat: their strides are 0.</summary>
internal readonly unsafe struct BroadcastView
{
    private readonly RawView _view;
    private readonly long _batchStride, _headStride, _rowStride;

    public BroadcastView(in RawView view, int rowsPerElement = 1)
    {
        _view = view;
        if (!view.IsPresent)
            return;
        (_batchStride, _headStride, _rowStride) = (StrideOf(view, 0), StrideOf(view, 1), StrideOf(view, 2));
        KeyStride = StrideOf(view, 3);
        RowsPerElement = rowsPerElement;
    }

    public bool IsPresent => _view.IsPresent;

    public DataType Type => _view.Type;

    /// <summary>1, or 0 when all keys share an element.</summary>
    public long KeyStride { get; }

    /// <summary>Bytes from the elements of one query row, or block of rows, to those of the next; 0 when all rows share them.</summary>
    public long RowBytes => _rowStride * _view.Type.SizeInBytes();

    /// <summary>Query rows (and keys) that one element stands for.</summary>
    public int RowsPerElement { get; }

    /// <summary>The elements of one query row; key j's is number j div RowsPerElement · KeyStride.</summary>
    public byte* Row(int batch, int head, int row) =>
        (byte*)_view.Data + (batch * _batchStride + head * _headStride + row / RowsPerElement * _rowStride) * _view.Type.SizeInBytes();

    private static long StrideOf(in RawView view, int dimension) => view.Layout[dimension] == 1 ? 0 : view.Layout.Stride(dimension);
}
