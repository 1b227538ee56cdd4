namespace KernelEngine.Benchmarks.Sparse;

/// <summary>Tensors of f32.</summary>
internal static class Data
{
    /// <summary>Numbers drawn from the standard normal distribution, times <paramref name="scale"/>.</summary>
    public static Tensor Draw(Device device, int seed, float scale, params ReadOnlySpan<long> shape)
    {
        Tensor tensor = RandomTensors.CreateRepeating(
            device, new Operand("", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous(shape), ""), seed);
        if (scale != 1)
            tensor.CopyFrom<float>(Array.ConvertAll(tensor.ToArray<float>(), x => scale * x));
        return tensor;
    }

    /// <summary>Zeros.</summary>
    public static Tensor Take(Device device, params ReadOnlySpan<long> shape) => Tensor.Allocate(device, DataType.Float32, shape);
}
