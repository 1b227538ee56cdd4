namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A feed-forward layer with ReLU and its training step: dense, or with a router that sends each token to some of the blocks.</summary>
internal sealed class FeedForwardLayer : IDisposable
{
    private const float BalanceWeight = 0.01f;

    private readonly int _blocks, _activeBlocks;
    private readonly Tensor _up, _down, _gradUp, _gradDown, _units, _selected, _gates, _gradGates, _counts, _balanceLoss;
    private readonly Tensor _router, _routerBias, _gradRouter, _gradRouterBias;

    public FeedForwardLayer(Device device, int tokens, int hiddenSize, int innerSize, int blocks, int activeBlocks)
    {
        (_blocks, _activeBlocks) = (blocks, activeBlocks);
        float scale = 1 / MathF.Sqrt(hiddenSize);
        (_up, _down) = (Data.Draw(device, 11, scale, innerSize, hiddenSize), Data.Draw(device, 12, scale, hiddenSize, innerSize));
        (_gradUp, _gradDown) = (Data.Take(device, innerSize, hiddenSize), Data.Take(device, hiddenSize, innerSize));
        _units = Data.Take(device, tokens, activeBlocks, innerSize / blocks);
        _selected = Tensor.Allocate(device, DataType.Int32, tokens, activeBlocks);
        _counts = Tensor.Allocate(device, DataType.Int32, blocks);
        (_gates, _gradGates, _balanceLoss) = (Data.Take(device, tokens, blocks), Data.Take(device, tokens, blocks), Data.Take(device, 1));
        (_router, _routerBias) = (Data.Draw(device, 13, scale, blocks, hiddenSize), Data.Take(device, blocks));
        (_gradRouter, _gradRouterBias) = (Data.Take(device, blocks, hiddenSize), Data.Take(device, blocks));
    }

    public Tensor Up => _up;

    public Tensor Down => _down;

    private bool IsRouted => _activeBlocks < _blocks;

    private FeedForwardWeights Weights => new() { Up = _up, Down = _down };

    private FeedForwardRouting Routing => IsRouted ? new FeedForwardRouting(_blocks, _selected, _gates) : default;

    public void Forward(TensorView hidden, TensorView output)
    {
        if (IsRouted)
            FeedForward.Route(hidden, _router, _selected, _gates, _counts, _routerBias, _balanceLoss, BalanceWeight);
        FeedForward.Forward(hidden, Weights, output, FeedForwardActivation.Relu, Routing, _units);
    }

    public void Backward(TensorView hidden, TensorView gradOutput, TensorView gradHidden)
    {
        var gradients = new FeedForwardGradients
        {
            Hidden = gradHidden,
            Weights = new FeedForwardWeights { Up = _gradUp, Down = _gradDown },
            Gates = IsRouted ? _gradGates : default(TensorView),
        };
        FeedForward.Backward(hidden, Weights, gradOutput, gradients, FeedForwardActivation.Relu, Routing, _units);
        if (IsRouted)
            FeedForward.RouteBackward(hidden, _router, _gates, _activeBlocks, _gradGates, _counts, BalanceWeight, gradHidden, _gradRouter, _gradRouterBias);
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)
            [_up, _down, _gradUp, _gradDown, _units, _selected, _gates, _gradGates, _counts, _balanceLoss, _router, _routerBias, _gradRouter, _gradRouterBias])
        {
            tensor.Dispose();
        }
    }
}
