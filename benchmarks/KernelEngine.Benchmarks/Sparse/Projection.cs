namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A projection and its gradients.</summary>
internal sealed class Projection : IDisposable
{
    private readonly Tensor _weight, _gradWeight;

    public Projection(Device device, int inputSize, int outputSize, int seed)
    {
        _weight = Data.Draw(device, seed, 1 / MathF.Sqrt(inputSize), outputSize, inputSize);
        _gradWeight = Data.Take(device, outputSize, inputSize);
    }

    public void Forward(TensorView input, TensorView output) => Linear.Forward(input, _weight, output);

    public void Backward(TensorView input, TensorView gradOutput, TensorView gradInput) =>
        Linear.Backward(gradOutput, input, _weight, gradInput, _gradWeight);

    public void Dispose()
    {
        _weight.Dispose();
        _gradWeight.Dispose();
    }
}
