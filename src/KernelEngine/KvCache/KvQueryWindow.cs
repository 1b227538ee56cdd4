namespace KernelEngine;

/// <summary>
/// The latest queries of a layer and the log-sum-exps of their attention, oldest first: twice as many as asked for, so that they move
/// once in so many tokens.
/// </summary>
internal sealed class KvQueryWindow(Device device, int size) : IDisposable
{
    private Tensor? _queries, _lses, _spareQueries, _spareLses, _unused, _unusedSingles, _start;

    /// <summary>Queries held.</summary>
    public int Count { get; private set; }

    public long Bytes => 2 * (_queries is null ? 0
        : _queries.Layout.Count * _queries.Type.SizeInBytes() + _lses!.Layout.Count * sizeof(float));

    /// <summary>The last ones: queries [1, count, numHeads, headDim] and log-sum-exps f32 [1, numHeads, count].</summary>
    public (TensorView Queries, TensorView Lses) Last(int count) =>
        (_queries!.View.Slice(1, Count - count, count), _lses!.View.Slice(2, Count - count, count));

    /// <summary>Adds the last rows.</summary>
    /// <param name="query">[1, rows, numHeads, headDim]</param>
    /// <param name="lse">f32 [1, numHeads, rows]</param>
    public void Append(TensorView query, TensorView lse)
    {
        int rows = (int)Math.Min(query[1], size);
        if (rows == 0)
            return;
        if (_queries is null)
        {
            _queries = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], query[3]);
            _spareQueries = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], query[3]);
            _lses = Tensor.Allocate(device, DataType.Float32, 1, query[2], 2L * size);
            _spareLses = Tensor.Allocate(device, DataType.Float32, 1, query[2], 2L * size);
            _unused = Tensor.Allocate(device, query.Type, 1, 2L * size, query[2], 1);
            _unusedSingles = Tensor.Allocate(device, DataType.Float32, 1, 2L * size, query[2], 1);
            _start = Tensor.Allocate(device, DataType.Int32, 1);
        }
        if (Count + rows > 2 * size)
        {
            int kept = size - rows;
            if (kept > 0)
            {
                (TensorView queries, TensorView lses) = Last(kept);
                Copy(queries, _spareQueries!, lses, _spareLses!, 0);
            }
            (_queries, _spareQueries, _lses, _spareLses, Count) = (_spareQueries!, _queries, _spareLses!, _lses, kept);
        }
        Copy(query.Slice(1, query[1] - rows, rows), _queries, lse.Slice(2, lse[2] - rows, rows), _lses!, Count);
        Count += rows;
    }

    public void Clear() => Count = 0;

    /// <summary>Adds what is held to another window.</summary>
    public void CopyTo(KvQueryWindow target)
    {
        if (Count == 0)
            return;
        (TensorView queries, TensorView lses) = Last(Count);
        target.Append(queries, lses);
    }

    public void Dispose()
    {
        device.Synchronize();
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[_queries, _lses, _spareQueries, _spareLses, _unused, _unusedSingles, _start])
            tensor?.Dispose();
    }

    // Appending to a cache is the operation that moves rows: the log-sum-exps are values of one element, or, beside queries of
    // another type, keys.
    private void Copy(TensorView queries, TensorView targetQueries, TensorView lses, TensorView targetLses, int first)
    {
        _start!.CopyFrom<int>([first]);
        TensorView rows = Column(lses), target = Column(targetLses);
        if (queries.Type == DataType.Float32)
        {
            Attention.Append(queries, rows, targetQueries, target, _start);
            return;
        }
        Attention.Append(queries, queries.Slice(3, 0, 1), targetQueries, _unused!, _start);
        Attention.Append(rows, rows, target, _unusedSingles!, _start);
    }

    // [1, numHeads, rows] as [1, rows, numHeads, 1].
    private static TensorView Column(TensorView lses) => lses.Transpose(1, 2).Split(2, 1);
}
