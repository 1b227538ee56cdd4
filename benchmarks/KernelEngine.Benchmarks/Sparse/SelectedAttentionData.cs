namespace KernelEngine.Benchmarks.Sparse;

/// <summary>One problem of attention to the keys with the most codes in common: its tensors, and its steps.</summary>
internal sealed class SelectedAttentionData : IDisposable
{
    private const int SubVectorSize = 8, Share = 8; // an eighth of the length is kept, as published

    private readonly Tensor _query, _key, _value, _codebook, _queryCodes, _keyCodes, _columns, _counts, _output, _lse;
    private readonly Tensor _gradOutput, _gradQuery, _gradKey, _gradValue;

    public SelectedAttentionData(Device device, int numHeads, int length, int headDim)
    {
        KeepCount = length / Share;
        (_query, _key, _value, _gradOutput) = (Draw(1), Draw(2), Draw(3), Draw(4));
        (_output, _gradQuery, _gradKey, _gradValue) = (Take(), Take(), Take(), Take());
        _lse = Tensor.Allocate(device, DataType.Float32, 1, numHeads, length);
        _codebook = SparseAttention.InitializeCodebook(SubVectorSize, 1, _query, _key);
        (_queryCodes, _keyCodes) = (TakeCodes(), TakeCodes());
        _columns = Tensor.Allocate(device, DataType.Int32, 1, numHeads, length, KeepCount);
        _counts = Tensor.Allocate(device, DataType.Int32, 1, numHeads, length);

        Tensor Draw(int seed) => Data.Draw(device, seed, 1, 1, length, numHeads, headDim);

        Tensor Take() => Data.Take(device, 1, length, numHeads, headDim);

        Tensor TakeCodes() => Tensor.Allocate(device, DataType.Int32, 1, numHeads, length, (_codebook.Layout[0] + 7) / 8);
    }

    /// <summary>Keys of a row.</summary>
    public int KeepCount { get; }

    public TensorView Query => _query;

    public TensorView Key => _key;

    public TensorView Value => _value;

    public void DenseForward() => Attention.Forward(_query, _key, _value, _output, AttentionOptions.Causal, _lse);

    public void DenseBackward() => Attention.Backward(
        _query, _key, _value, _output, _lse, _gradOutput, new AttentionGradients { Query = _gradQuery, Key = _gradKey, Value = _gradValue },
        AttentionOptions.Causal);

    public void Encode()
    {
        SparseAttention.Encode(_query, _codebook, _queryCodes);
        SparseAttention.Encode(_key, _codebook, _keyCodes);
    }

    public void Select() => SparseAttention.Select(
        _queryCodes, _keyCodes, _columns, _counts, (int)_codebook.Layout[0], SparseSelectOptions.Causal);

    public void SparseForward() => SparseAttention.Forward(_query, _key, _value, _columns, _counts, _output, _lse);

    public void SparseBackward() => SparseAttention.Backward(
        _query, _key, _value, _columns, _counts, _output, _lse, _gradOutput, _gradQuery, _gradKey, _gradValue);

    public void SelectAndAttend()
    {
        Encode();
        Select();
        SparseForward();
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)
            [_query, _key, _value, _codebook, _queryCodes, _keyCodes, _columns, _counts, _output, _lse, _gradOutput, _gradQuery, _gradKey, _gradValue])
        {
            tensor.Dispose();
        }
    }
}
