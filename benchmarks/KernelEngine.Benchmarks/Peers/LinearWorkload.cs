namespace KernelEngine.Benchmarks.Peers;

/// <summary>A linear layer with its tensors.</summary>
public sealed class LinearWorkload(LinearProblem sizes) : Workload
{
    public LinearProblem Sizes { get; } = sizes is { IsInputTransposed: false, IsWeightTransposed: false } ? sizes
        : throw new FormatException($"'{sizes}' has factors that lie transposed, which no peer takes.");

    /// <summary>f32 [rows, inputSize]</summary>
    public HostBuffer Input { get; } = HostBuffer.Random(DataType.Float32, (long)sizes.Rows * sizes.InputSize, 1);

    /// <summary>[outputSize, inputSize]</summary>
    public HostBuffer Weight { get; } = HostBuffer.Random(sizes.WeightType, (long)sizes.OutputSize * sizes.InputSize, 2);

    public override string OperationName => Linear.ForwardOperation.Name;

    public override IProblem Problem => Sizes;

    public override DataType StorageType => Sizes.WeightType;

    public override long LibraryResultBytes => (long)sizeof(float) * Sizes.Rows * Sizes.OutputSize;

    public override Workload CreateSmall() =>
        new LinearWorkload(Sizes with { Rows = Math.Min(Sizes.Rows, 4), OutputSize = Math.Min(Sizes.OutputSize, 128) });

    public override Contender CreateEngine(Device device, bool isPlain)
    {
        LinearProblem p = Sizes;
        var output = new HostBuffer(DataType.Float32, (long)p.Rows * p.OutputSize);
        return CreateEngine(
            device, Linear.ForwardOperation, p, isPlain, output,
            Wrap(device, Input, p.GetOperand(LinearProblem.Input).Shape),
            Wrap(device, Weight, p.GetOperand(LinearProblem.Weight).Shape),
            Wrap(device, output, p.GetOperand(LinearProblem.Output).Shape));
    }

    public override void Dispose()
    {
        Input.Dispose();
        Weight.Dispose();
    }
}
