namespace KernelEngine.Benchmarks.Sparse;

/// <summary>One problem of attention to the keys with the most codes in common: its tensors, and its steps.</summary>
internal sealed class SelectedAttentionData : IDisposable
{
    private readonly ListedKeys _listed;
    private readonly Tensor _query, _key, _value, _output, _lse;
    private readonly Tensor _gradOutput, _gradQuery, _gradKey, _gradValue;

    public SelectedAttentionData(Device device, int numHeads, int length, int headDim)
    {
        (_query, _key, _value, _gradOutput) = (Draw(1), Draw(2), Draw(3), Draw(4));
        (_output, _gradQuery, _gradKey, _gradValue) = (Take(), Take(), Take(), Take());
        _lse = Tensor.Allocate(device, DataType.Float32, 1, numHeads, length);
        _listed = new ListedKeys(device, _query, _key);

        Tensor Draw(int seed) => Data.Draw(device, seed, 1, 1, length, numHeads, headDim);

        Tensor Take() => Data.Take(device, 1, length, numHeads, headDim);
    }

    /// <summary>Keys of a row.</summary>
    public int KeepCount => _listed.KeepCount;

    public TensorView Query => _query;

    public TensorView Key => _key;

    public TensorView Value => _value;

    public void DenseForward() => Attention.Forward(_query, _key, _value, _output, AttentionOptions.Causal, _lse);

    public void DenseBackward() => Attention.Backward(
        _query, _key, _value, _output, _lse, _gradOutput, new AttentionGradients { Query = _gradQuery, Key = _gradKey, Value = _gradValue },
        AttentionOptions.Causal);

    public void Encode() => _listed.Encode(_query, _key);

    public void Select() => _listed.Select();

    public void SparseForward() => SparseAttention.Forward(_query, _key, _value, _listed.Columns, _listed.Counts, _output, _lse);

    public void SparseBackward() => SparseAttention.Backward(
        _query, _key, _value, _listed.Columns, _listed.Counts, _output, _lse, _gradOutput, _gradQuery, _gradKey, _gradValue);

    /// <summary>The forward pass of inference: keys are chosen on the way.</summary>
    public void EncodeAndAttend()
    {
        Encode();
        _listed.Attend(_query, _key, _value, _output, _lse);
    }

    /// <summary>That of training, which keeps the lists for the gradients.</summary>
    public void SelectAndAttend()
    {
        Encode();
        Select();
        SparseForward();
    }

    public void Dispose()
    {
        _listed.Dispose();
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[_query, _key, _value, _output, _lse, _gradOutput, _gradQuery, _gradKey, _gradValue])
            tensor.Dispose();
    }
}
