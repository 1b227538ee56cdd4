namespace KernelEngine;

/// <summary>
/// Shorter rows in the cells of a layer (MatryoshkaKV, Lin et al. 2024, arXiv:2410.14731). Of a key, turned to its position, and of a value
/// the products with the first directions of their head's orthonormal bases are stored, and attention runs on what is stored:
/// <code>
/// key' = U_K · key   value' = U_V · value   query' = U_K · query   output = U_Vᵀ · Σ p_j value'_j
/// </code>
/// With as many directions as elements nothing is lost. A mean that keys were centred by when their basis was found needs no storing: what
/// the left-out directions of it add to a score, query · (1 − U_KᵀU_K) · mean, is the same for all keys, which softmax does not see.
/// May serve many caches at once.
/// </summary>
public sealed class KvProjection : IDisposable
{
    private readonly Tensor _key, _value;

    /// <summary>Puts bases on a device.</summary>
    /// <param name="device">Where the cache is.</param>
    /// <param name="shape">The rows as the model makes them.</param>
    /// <param name="keyBasis">[numKvHeads, rank, headDim], a direction a row; rows of zeros where a head has fewer than others</param>
    /// <param name="valueBasis">[numKvHeads, rank, valueHeadDim]</param>
    /// <exception cref="ArgumentException">The numbers do not fit one another, or there is no direction or more than elements.</exception>
    public KvProjection(Device device, KvLayerShape shape, ReadOnlySpan<float> keyBasis, ReadOnlySpan<float> valueBasis)
    {
        if (shape.FindError() is { } error)
            throw new ArgumentException(error, nameof(shape));
        Shape = shape;
        Stored = new KvLayerShape(
            shape.NumKvHeads, RankOf(keyBasis.Length, shape.HeadDim, nameof(keyBasis)),
            RankOf(valueBasis.Length, shape.ValueHeadDim, nameof(valueBasis)));
        _key = Tensor.From(device, keyBasis, shape.NumKvHeads, Stored.HeadDim, shape.HeadDim);
        _value = Tensor.From(device, valueBasis, shape.NumKvHeads, Stored.ValueHeadDim, shape.ValueHeadDim);
    }

    /// <summary>The rows as the model makes them.</summary>
    public KvLayerShape Shape { get; }

    /// <summary>The rows as they are stored.</summary>
    public KvLayerShape Stored { get; }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        _key.Dispose();
        _value.Dispose();
    }

    // f32 [1, tokens, heads, headDim] to [1, tokens, heads, rank]; queries too, whose heads share the basis of their group.
    internal void ProjectKeys(TensorView rows, TensorView stored) => Multiply(rows, _key, stored);

    // f32 [1, tokens, numKvHeads, valueHeadDim] to [1, tokens, numKvHeads, rank].
    internal void ProjectValues(TensorView rows, TensorView stored) => Multiply(rows, _value, stored);

    // f32 [1, tokens, numHeads, rank] to [1, tokens, numHeads, valueHeadDim].
    internal void RestoreValues(TensorView stored, TensorView rows) => Multiply(stored, _value.View.Transpose(1, 2), rows);

    // The rows of each head times the matrix of its group, [numKvHeads, target size, source size].
    private void Multiply(TensorView source, TensorView matrices, TensorView target)
    {
        // The heads of one token are rows of one product.
        int groupSize = (int)source[2] / Shape.NumKvHeads, heads = source[1] == 1 ? groupSize : 1;
        for (int head = 0; head < source[2]; head += heads)
        {
            Linear.Forward(
                Rows(source.Slice(2, head, heads)), matrices.Slice(0, head / groupSize, 1).Join(0), Rows(target.Slice(2, head, heads)));
        }
    }

    // [1, tokens, heads, size] as [tokens or heads, size], of which one is 1.
    private static TensorView Rows(TensorView view) => (view[1] == 1 ? view : view.Transpose(1, 2)).Join(0).Join(0);

    private int RankOf(int count, int width, string parameter)
    {
        int rank = count / (Shape.NumKvHeads * width);
        return rank >= 1 && rank <= width && count == rank * Shape.NumKvHeads * width
            ? rank
            : throw new ArgumentException(
                $"{parameter} must have shape [{Shape.NumKvHeads}, 1 to {width}, {width}] but has {count} elements.", parameter);
    }
}
