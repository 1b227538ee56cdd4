using KernelEngine.Benchmarks.Peers;
using TorchSharp;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>The same block in libtorch, dense and unfused: the matrices of scores and of probabilities are tensors.</summary>
internal sealed class TorchBlock : IDisposable
{
    private readonly int _length, _hiddenSize, _headDim;
    private readonly torch.Tensor _input, _projectIn, _projectOut, _up, _down, _gradOutput, _future;

    private TorchBlock(int length, int hiddenSize, int innerSize, int headDim)
    {
        (_length, _hiddenSize, _headDim) = (length, hiddenSize, headDim);
        double scale = 1 / Math.Sqrt(hiddenSize);
        (_input, _gradOutput) = (Draw(length, hiddenSize, 1), torch.randn([length, hiddenSize]));
        (_projectIn, _projectOut) = (Draw(3 * hiddenSize, hiddenSize, scale), Draw(hiddenSize, hiddenSize, scale));
        (_up, _down) = (Draw(innerSize, hiddenSize, scale), Draw(hiddenSize, innerSize, scale));
        using torch.Tensor ones = torch.ones([length, length], torch.ScalarType.Bool);
        _future = ones.triu(1);
    }

    /// <summary>Null where libtorch does not load.</summary>
    public static TorchBlock? TryCreate(int threads, int length, int hiddenSize, int innerSize, int headDim)
    {
        if (TorchLibrary.Load(threads) is not null)
            return null;
        torch.set_num_threads(threads);
        return new TorchBlock(length, hiddenSize, innerSize, headDim);
    }

    public void Step()
    {
        using IDisposable scope = torch.NewDisposeScope();
        torch.Tensor[] parts = torch.nn.functional.linear(_input, _projectIn).chunk(3, 1);
        torch.Tensor query = Heads(parts[0]), key = Heads(parts[1]), value = Heads(parts[2]);
        torch.Tensor scores = torch.matmul(query, key.transpose(1, 2)) * (1 / Math.Sqrt(_headDim));
        torch.Tensor weights = scores.masked_fill(_future, double.NegativeInfinity).softmax(-1);
        torch.Tensor attended = torch.matmul(weights, value).transpose(0, 1).reshape(_length, _hiddenSize);
        torch.Tensor middle = torch.nn.functional.linear(attended, _projectOut) + _input;
        torch.Tensor output = torch.nn.functional.linear(torch.nn.functional.linear(middle, _up).relu(), _down) + middle;
        torch.autograd.grad([output], [_input, _projectIn, _projectOut, _up, _down], [_gradOutput]);
    }

    public void Dispose()
    {
        foreach (torch.Tensor tensor in (ReadOnlySpan<torch.Tensor>)[_input, _projectIn, _projectOut, _up, _down, _gradOutput, _future])
            tensor.Dispose();
    }

    private torch.Tensor Heads(torch.Tensor rows) => rows.reshape(_length, _hiddenSize / _headDim, _headDim).transpose(0, 1);

    private static torch.Tensor Draw(long rows, long columns, double scale)
    {
        using torch.Tensor drawn = torch.randn([rows, columns]), scaled = drawn * scale;
        return scaled.detach().requires_grad_(true);
    }
}
