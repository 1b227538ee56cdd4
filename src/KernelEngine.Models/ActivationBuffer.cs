namespace KernelEngine.Models;

/// <summary>
/// Memory for rows whose width differs from layer to layer: the widest decides, narrower ones lie closely packed.
/// </summary>
internal sealed class ActivationBuffer(Device device, int rows, long maxWidth) : IDisposable
{
    private readonly Tensor _tensor = Tensor.Allocate(device, DataType.Float32, rows * maxWidth);

    /// <summary>f32 [rows, width], contiguous.</summary>
    public TensorView Rows(int rows, int width) => _tensor.Slice(0, 0, (long)rows * width).Reshape(rows, width);

    public void Dispose() => _tensor.Dispose();
}
