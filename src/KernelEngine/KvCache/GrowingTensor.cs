namespace KernelEngine;

/// <summary>Memory that grows to the largest size asked for, and is used again.</summary>
internal sealed class GrowingTensor(Device device) : IDisposable
{
    /// <summary>The memory; null before the first use.</summary>
    public Tensor? Tensor { get; private set; }

    public long Bytes => Tensor is null ? 0 : Tensor.Layout.Count * Tensor.Type.SizeInBytes();

    /// <summary>Its beginning in a shape; contents are what they were, or undefined once it grew.</summary>
    public TensorView Take(DataType type, params ReadOnlySpan<long> lengths)
    {
        TensorLayout layout = TensorLayout.Contiguous(lengths);
        if (Tensor is null || Tensor.Layout.Count < layout.Count || Tensor.Type != type)
        {
            Dispose();
            Tensor = KernelEngine.Tensor.Allocate(device, type, layout.Count);
        }
        return new TensorView(Tensor.View.Storage!, 0, type, layout);
    }

    public void Dispose()
    {
        if (Tensor is null)
            return;
        device.Synchronize();
        Tensor.Dispose();
        Tensor = null;
    }
}
