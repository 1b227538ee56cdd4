using KernelEngine.Benchmarks.Peers;
using TorchSharp;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>The dense layer and its gradients in libtorch: <c>linear</c>, <c>relu</c>, <c>linear</c>, <c>autograd.grad</c>.</summary>
internal sealed class TorchFeedForward : IDisposable
{
    private readonly torch.Tensor _hidden, _up, _down, _gradOutput;

    private TorchFeedForward(Tensor hidden, Tensor gradOutput, FeedForwardLayer layer) =>
        (_hidden, _gradOutput, _up, _down) = (Copy(hidden, true), Copy(gradOutput, false), Copy(layer.Up, true), Copy(layer.Down, true));

    /// <summary>Null where libtorch does not load.</summary>
    public static TorchFeedForward? TryCreate(int threads, Tensor hidden, Tensor gradOutput, FeedForwardLayer layer)
    {
        if (TorchLibrary.Load(threads) is not null)
            return null;
        torch.set_num_threads(threads);
        return new TorchFeedForward(hidden, gradOutput, layer);
    }

    public void Run()
    {
        using torch.Tensor units = torch.nn.functional.linear(_hidden, _up), active = units.relu();
        using torch.Tensor output = torch.nn.functional.linear(active, _down);
        foreach (torch.Tensor gradient in torch.autograd.grad([output], [_hidden, _up, _down], [_gradOutput]))
            gradient.Dispose();
    }

    public void Dispose()
    {
        foreach (torch.Tensor tensor in (ReadOnlySpan<torch.Tensor>)[_hidden, _up, _down, _gradOutput])
            tensor.Dispose();
    }

    private static torch.Tensor Copy(Tensor tensor, bool requiresGrad) =>
        torch.tensor(tensor.ToArray<float>(), [tensor.Layout[0], tensor.Layout[1]], requires_grad: requiresGrad);
}
