namespace KernelEngine.Models;

/// <summary>
/// What a pass through the model writes between the tokens and the logits, for up to <see cref="Rows"/> tokens.
/// </summary>
internal sealed class Activations : IDisposable
{
    private readonly Device _device;
    private readonly int _vocabSize;

    public Activations(Device device, ModelDescription description, int rows)
    {
        (_device, _vocabSize, Rows) = (device, description.VocabSize, rows);
        long hidden = description.HiddenSize;
        Tokens = Tensor.Allocate(device, DataType.Int32, rows);
        Position = Tensor.Allocate(device, DataType.Int32, 1);
        Hidden = Tensor.Allocate(device, DataType.Float32, rows, hidden);
        Normed = Tensor.Allocate(device, DataType.Float32, rows, hidden);
        Branch = Tensor.Allocate(device, DataType.Float32, rows, hidden);
        QueryKeyValue = new ActivationBuffer(device, rows, description.Layers.Max(
            layer => (long)layer.NumHeads * layer.HeadDim + (long)layer.NumKvHeads * (layer.HeadDim + layer.ValueHeadDim)));
        Attended = new ActivationBuffer(device, rows, description.Layers.Max(layer => (long)layer.NumHeads * layer.ValueHeadDim));
        long feedForward = description.Layers.Max(layer => (long)layer.FeedForwardSize);
        GateUp = new ActivationBuffer(device, rows, 2 * feedForward);
        Product = new ActivationBuffer(device, rows, feedForward);
        Logits = Tensor.Allocate(device, DataType.Float32, 1, _vocabSize);
        Index = Tensor.Allocate(device, DataType.Int32, 1);
        Uniform = Tensor.Allocate(device, DataType.Float32, 1);
    }

    public int Rows { get; }

    /// <summary>i32 [rows]</summary>
    public Tensor Tokens { get; }

    /// <summary>The position of the first of them, i32 [1]</summary>
    public Tensor Position { get; }

    /// <summary>The residual stream, f32 [rows, hiddenSize].</summary>
    public Tensor Hidden { get; }

    /// <summary>f32 [rows, hiddenSize]</summary>
    public Tensor Normed { get; }

    /// <summary>What a block adds to the residual stream, f32 [rows, hiddenSize].</summary>
    public Tensor Branch { get; }

    /// <summary>Queries, keys and values of a token beside one another.</summary>
    public ActivationBuffer QueryKeyValue { get; }

    public ActivationBuffer Attended { get; }

    public ActivationBuffer GateUp { get; }

    public ActivationBuffer Product { get; }

    /// <summary>f32 [1 or rows, vocabSize]: many rows only once someone asks for the logits of many tokens.</summary>
    public Tensor Logits { get; private set; }

    /// <summary>The chosen token, i32 [1].</summary>
    public Tensor Index { get; }

    /// <summary>The random number of a draw, f32 [1].</summary>
    public Tensor Uniform { get; }

    /// <summary>The first rows of the logits.</summary>
    public TensorView LogitRows(int rows)
    {
        if (rows > Logits.Layout[0])
        {
            _device.Synchronize();
            Logits.Dispose();
            Logits = Tensor.Allocate(_device, DataType.Float32, Rows, _vocabSize);
        }
        return Logits.Slice(0, 0, rows);
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[Tokens, Position, Hidden, Normed, Branch, Logits, Index, Uniform])
            tensor.Dispose();
        foreach (ActivationBuffer buffer in (ReadOnlySpan<ActivationBuffer>)[QueryKeyValue, Attended, GateUp, Product])
            buffer.Dispose();
    }
}
