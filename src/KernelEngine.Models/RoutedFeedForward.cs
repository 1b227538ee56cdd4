namespace KernelEngine.Models;

/// <summary>The feed-forward network of one block when each token goes through some of its blocks of hidden units (SPT, arXiv:2312.10365).</summary>
internal sealed class RoutedFeedForward : IDisposable
{
    private readonly LayerDescription _layer;
    private readonly LayerWeights _weights;
    private readonly Tensor _selected, _gates, _counts;

    /// <summary>Takes memory for chunks of <paramref name="rows"/> tokens.</summary>
    public RoutedFeedForward(Device device, LayerDescription layer, LayerWeights weights, int activeBlocks, int rows)
    {
        (_layer, _weights) = (layer, weights);
        _selected = Tensor.Allocate(device, DataType.Int32, rows, activeBlocks);
        _gates = Tensor.Allocate(device, DataType.Float32, rows, layer.FeedForwardBlocks);
        _counts = Tensor.Allocate(device, DataType.Int32, layer.FeedForwardBlocks);
    }

    /// <summary>Runs tokens through the blocks that the router chooses for each.</summary>
    /// <param name="input">f32 [rows, hiddenSize]</param>
    /// <param name="output">f32 [rows, hiddenSize], written</param>
    public void Run(TensorView input, TensorView output)
    {
        int size = _layer.FeedForwardSize, rows = (int)input[0];
        TensorView selected = _selected.Slice(0, 0, rows);
        FeedForward.Route(input, _weights.Router!, selected, _gates.Slice(0, 0, rows), _counts, _weights.RouterBias!);
        var weights = new FeedForwardWeights
        {
            Gate = _weights.GateUp!.Slice(0, 0, size),
            Up = _weights.GateUp!.Slice(0, size, size),
            Down = _weights.Down!,
        };
        FeedForward.Forward(
            input, weights, output, FeedForwardActivation.SwiGlu, new FeedForwardRouting(_layer.FeedForwardBlocks, selected));
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[_selected, _gates, _counts])
            tensor.Dispose();
    }
}
