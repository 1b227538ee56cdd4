namespace KernelEngine;

/// <summary>The latest queries of a layer, oldest first: twice as many as asked for, so that they move once in so many tokens.</summary>
internal sealed class KvQueryWindow(Device device, int size) : IDisposable
{
    private Tensor? _queries, _spare, _unused, _start;

    /// <summary>Queries held.</summary>
    public int Count { get; private set; }

    public long Bytes => 2 * (_queries is null ? 0 : _queries.Layout.Count * _queries.Type.SizeInBytes());

    /// <summary>The last <paramref name="count"/> queries, [1, count, numHeads, headDim].</summary>
    public TensorView Last(int count) => _queries!.View.Slice(1, Count - count, count);

    /// <summary>Adds the last rows of <paramref name="query"/>, [1, rows, numHeads, headDim].</summary>
    public void Append(TensorView query)
    {
        int rows = (int)Math.Min(query[1], size);
        if (rows == 0)
            return;
        if (_queries is null)
        {
            _queries = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], query[3]);
            _spare = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], query[3]);
            _unused = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], 1);
            _start = Tensor.Allocate(device, DataType.Int32, 1);
        }
        if (Count + rows > 2 * size)
        {
            int kept = size - rows;
            if (kept > 0)
                Copy(Last(kept), _spare!, 0);
            (_queries, _spare, Count) = (_spare!, _queries, kept);
        }
        Copy(query.Slice(1, query[1] - rows, rows), _queries, Count);
        Count += rows;
    }

    public void Clear() => Count = 0;

    public void Dispose()
    {
        device.Synchronize();
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[_queries, _spare, _unused, _start])
            tensor?.Dispose();
    }

    // Appending to a cache is the operation that moves rows; the value that it asks for is one column of the queries.
    private void Copy(TensorView rows, Tensor target, int first)
    {
        _start!.CopyFrom<int>([first]);
        Attention.Append(rows, rows.Slice(3, 0, 1), target, _unused!, _start);
    }
}
