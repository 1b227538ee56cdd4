namespace KernelEngine.Benchmarks.Sparse;

/// <summary>The keys with the most codes in common: what choosing them needs.</summary>
internal sealed class ListedKeys : IDisposable
{
    private const int PublishedSize = 8, PublishedShare = 8;

    private readonly Tensor _codebook, _queryCodes, _keyCodes, _columns, _counts;

    /// <summary>As published: an eighth of the keys for each row, by codes of eight elements.</summary>
    public ListedKeys(Device device, TensorView query, TensorView key)
        : this(device, query, key, PublishedSize, (int)query[1] / PublishedShare)
    {
    }

    /// <summary>Takes memory, and fits a codebook.</summary>
    /// <param name="device">Where.</param>
    /// <param name="query">[1, length, numHeads, headDim]</param>
    /// <param name="key">[1, length, numKvHeads, headDim]</param>
    /// <param name="subVectorSize">Elements of a code.</param>
    /// <param name="keepCount">Keys of a row.</param>
    public ListedKeys(Device device, TensorView query, TensorView key, int subVectorSize, int keepCount)
    {
        (long length, long numHeads) = (query[1], query[2]);
        KeepCount = keepCount;
        _codebook = SparseAttention.InitializeCodebook(subVectorSize, 1, query, key);
        long words = SparseAttention.WordsOf((int)_codebook.Layout[0]);
        _queryCodes = Tensor.Allocate(device, DataType.Int32, 1, numHeads, length, words);
        _keyCodes = Tensor.Allocate(device, DataType.Int32, 1, key[2], length, words);
        _columns = Tensor.Allocate(device, SparseSelectProblem.NarrowestColumns(length), 1, numHeads, length, KeepCount);
        _counts = Tensor.Allocate(device, DataType.Int32, 1, numHeads, length);
    }

    /// <summary>Keys of a row.</summary>
    public int KeepCount { get; }

    public TensorView Columns => _columns;

    public TensorView Counts => _counts;

    public void Encode(TensorView query, TensorView key)
    {
        SparseAttention.Encode(query, _codebook, _queryCodes);
        SparseAttention.Encode(key, _codebook, _keyCodes);
    }

    public void Select() => SparseAttention.Select(
        _queryCodes, _keyCodes, _columns, _counts, (int)_codebook.Layout[0], SparseSelectOptions.Causal);

    /// <summary>Attention over those keys, chosen on the way; lists are neither read nor written.</summary>
    public void Attend(TensorView query, TensorView key, TensorView value, TensorView output, TensorView lse) => SparseAttention.ForwardSelected(
        query, key, value, _queryCodes, _keyCodes, output, (int)_codebook.Layout[0], KeepCount, SparseSelectOptions.Causal, lse: lse);

    /// <summary>The lists, [numHeads, length, keepCount].</summary>
    public int[] ReadColumns() => _columns.Type == DataType.UInt16
        ? Array.ConvertAll(_columns.ToArray<ushort>(), key => (int)key)
        : _columns.ToArray<int>();

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[_codebook, _queryCodes, _keyCodes, _columns, _counts])
            tensor.Dispose();
    }
}
