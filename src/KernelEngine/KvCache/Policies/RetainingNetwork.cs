namespace KernelEngine;

/// <summary>A retaining head of <see cref="RetainingHeads"/>: scores = W2 · silu(W1 · [query; key; value]), one a key/value head.</summary>
public sealed class RetainingNetwork : IDisposable
{
    private readonly Tensor _first, _second;
    private Tensor? _hidden, _part, _ones, _activated, _scores;
    private float[] _read = [];

    /// <summary>A network with the given weights, which it does not own.</summary>
    /// <param name="first">f32 [width, numHeads · headDim + numKvHeads · (headDim + valueHeadDim)]</param>
    /// <param name="second">f32 [numKvHeads, width]</param>
    /// <exception cref="ArgumentException">The shapes do not fit one another.</exception>
    public RetainingNetwork(Tensor first, Tensor second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Layout.Rank != 2 || second.Layout.Rank != 2 || second.Layout[1] != first.Layout[0])
            throw new ArgumentException($"second must have shape [numKvHeads, width={first.Layout[0]}] but has {second.Layout}.", nameof(second));
        (_first, _second) = (first, second);
    }

    /// <summary>Computes the scores of new tokens; <see cref="ReadScores"/> has them then.</summary>
    public void Run(TensorView query, TensorView key, TensorView value)
    {
        long rows = query[1], width = _first.Layout[0];
        if (_hidden is null || _hidden.Layout[0] < rows)
            Allocate(rows, width);
        TensorView hidden = _hidden!.Slice(0, 0, rows), part = _part!.Slice(0, 0, rows);
        TensorView q = Flat(query), k = Flat(key), v = Flat(value);
        if (q[1] + k[1] + v[1] != _first.Layout[1])
        {
            throw new ArgumentException(
                $"The network takes {_first.Layout[1]} numbers a token but query, key and value have {q[1] + k[1] + v[1]}.", nameof(query));
        }
        Linear.Forward(q, _first.Slice(1, 0, q[1]), hidden);
        Linear.Forward(k, _first.Slice(1, q[1], k[1]), part);
        Layers.ResidualAdd(hidden, part);
        Linear.Forward(v, _first.Slice(1, q[1] + k[1], v[1]), part);
        Layers.ResidualAdd(hidden, part);
        Layers.SwiGlu(hidden, _ones!.Slice(0, 0, rows), _activated!.Slice(0, 0, rows));
        Linear.Forward(_activated.Slice(0, 0, rows), _second, _scores!.Slice(0, 0, rows));
    }

    /// <summary>The scores of the tokens seen last, [rows, numKvHeads].</summary>
    public ReadOnlySpan<float> ReadScores(int rows)
    {
        int count = checked(rows * (int)_second.Layout[0]);
        if (_read.Length < count)
            _read = new float[count];
        _scores!.CopyTo<float>(_read.AsSpan(0, count), 0);
        return _read.AsSpan(0, count);
    }

    /// <summary>Gives what it works with back; the weights stay with their owner. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[_hidden, _part, _ones, _activated, _scores])
            tensor?.Dispose();
        _hidden = null;
    }

    // [1, tokens, heads, dim] as [tokens, heads · dim].
    private static TensorView Flat(TensorView rows) => rows.Join(0).Join(1);

    private void Allocate(long rows, long width)
    {
        _first.Device.Synchronize();
        Dispose();
        _hidden = Tensor.Allocate(_first.Device, DataType.Float32, rows, width);
        _part = Tensor.Allocate(_first.Device, DataType.Float32, rows, width);
        _activated = Tensor.Allocate(_first.Device, DataType.Float32, rows, width);
        _scores = Tensor.Allocate(_first.Device, DataType.Float32, rows, _second.Layout[0]);
        var ones = new float[checked((int)(rows * width))];
        Array.Fill(ones, 1f);
        _ones = Tensor.From<float>(_first.Device, ones, rows, width);
    }
}
