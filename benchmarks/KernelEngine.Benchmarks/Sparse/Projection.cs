namespace KernelEngine.Benchmarks.Sparse;

/// <summary>A projection and its gradients, as products of the operation <c>linear</c> on transposed copies.</summary>
internal sealed class Projection : IDisposable
{
    private readonly Matrix _weight, _weightTransposed, _gradWeight, _inputTransposed, _gradOutputTransposed;

    public Projection(Device device, int rows, int inputSize, int outputSize, int seed)
    {
        _weight = Matrix.Draw(device, outputSize, inputSize, seed, 1 / MathF.Sqrt(inputSize));
        (_weightTransposed, _gradWeight) = (new Matrix(device, inputSize, outputSize), new Matrix(device, outputSize, inputSize));
        (_inputTransposed, _gradOutputTransposed) = (new Matrix(device, inputSize, rows), new Matrix(device, outputSize, rows));
    }

    public void Forward(Matrix input, Matrix output) => Linear.Forward(input.Tensor, _weight.Tensor, output.Tensor);

    public void Backward(Matrix input, Matrix gradOutput, Matrix gradInput)
    {
        _weight.TransposeTo(_weightTransposed);
        Linear.Forward(gradOutput.Tensor, _weightTransposed.Tensor, gradInput.Tensor);
        gradOutput.TransposeTo(_gradOutputTransposed);
        input.TransposeTo(_inputTransposed);
        Linear.Forward(_gradOutputTransposed.Tensor, _inputTransposed.Tensor, _gradWeight.Tensor);
    }

    public void Dispose()
    {
        foreach (Matrix matrix in (ReadOnlySpan<Matrix>)[_weight, _weightTransposed, _gradWeight, _inputTransposed, _gradOutputTransposed])
            matrix.Dispose();
    }
}
