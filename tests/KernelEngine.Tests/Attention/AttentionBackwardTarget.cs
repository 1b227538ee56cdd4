namespace KernelEngine.Tests.Attention;

/// <summary>One kernel of the gradients on one device of the host, with tensors in and out as arrays.</summary>
public sealed record AttentionBackwardTarget(CpuKernel<AttentionBackwardProblem> Kernel, string DeviceName)
{
    private const float Canary = 1.0e30f;

    /// <summary>The gradients that a problem can have, by the index of the operand they belong to.</summary>
    public static IReadOnlyList<(int Input, int Gradient)> Gradients { get; } =
    [
        (AttentionProblem.Query, AttentionBackwardProblem.GradQuery), (AttentionProblem.Key, AttentionBackwardProblem.GradKey),
        (AttentionProblem.Value, AttentionBackwardProblem.GradValue), (AttentionProblem.Bias, AttentionBackwardProblem.GradBias),
        (AttentionProblem.SinkLogits, AttentionBackwardProblem.GradSinkLogits), (AttentionProblem.AlibiSlopes, AttentionBackwardProblem.GradAlibiSlopes),
    ];

    /// <summary>Every kernel of the operation, the plain one too, on every host device.</summary>
    public static IEnumerable<AttentionBackwardTarget> All =>
        from kernel in KernelEngine.Attention.BackwardOperation.Kernels.Append(KernelEngine.Attention.BackwardOperation.Plain).OfType<CpuKernel<AttentionBackwardProblem>>()
        where kernel.WhyUnavailable is null
        from device in TestDevices.NamesFor(kernel.Devices)
        select new AttentionBackwardTarget(kernel, device);

    /// <summary>The double-precision definition.</summary>
    public static AttentionBackwardTarget Reference => new(KernelEngine.Attention.BackwardOperation.Reference, "reference");

    /// <summary>Random inputs of a problem, the results of the forward pass among them.</summary>
    public static Dictionary<int, float[]> Inputs(in AttentionBackwardProblem problem, int seed = 1)
    {
        var inputs = new Dictionary<int, float[]>();
        for (int i = 0; i < problem.OperandCount; i++)
        {
            if (problem.GetOperand(i) is { Role: OperandRole.Input } operand)
                inputs[i] = Values(operand, seed * 31 + i);
        }
        RunForward(problem.Forward, inputs);
        return inputs;
    }

    /// <summary>Replaces output and lse by those of the forward pass's float32 definition.</summary>
    public static void RunForward(in AttentionProblem problem, Dictionary<int, float[]> inputs)
    {
        Device device = TestDevices.Get("cpu");
        var tensors = new Tensor?[problem.OperandCount];
        for (int i = 0; i < tensors.Length; i++)
        {
            if (problem.GetOperand(i) is { Role: not OperandRole.Absent } operand)
                tensors[i] = Create(device, operand, operand.Role == OperandRole.Input ? inputs[i] : new float[operand.Shape.Count]);
        }
        device.Run(KernelEngine.Attention.ForwardOperation, problem, Views(tensors), KernelEngine.Attention.ForwardOperation.Plain);
        foreach (int i in (int[])[AttentionProblem.Output, AttentionProblem.Lse])
            inputs[i] = tensors[i]!.ToArray<float>();
        foreach (Tensor? tensor in tensors)
            tensor?.Dispose();
    }

    /// <summary>The gradients asked for (all where none is named), by operand.</summary>
    public Dictionary<int, float[]> Run(in AttentionBackwardProblem problem, Dictionary<int, float[]> inputs, params int[] wanted)
    {
        Device device = TestDevices.Get(DeviceName);
        var tensors = new Tensor?[problem.OperandCount];
        for (int i = 0; i < tensors.Length; i++)
        {
            Operand operand = problem.GetOperand(i);
            if (operand.Role == OperandRole.Input)
                tensors[i] = Create(device, operand, inputs[i]);
            else if (operand.Role == OperandRole.Output && (wanted.Length == 0 || wanted.Contains(i)))
                tensors[i] = Create(device, operand, [.. Enumerable.Repeat(Canary, (int)operand.Shape.Count)]);
        }
        device.Run(KernelEngine.Attention.BackwardOperation, problem, Views(tensors), Kernel);
        var gradients = new Dictionary<int, float[]>();
        for (int i = AttentionBackwardProblem.GradQuery; i < tensors.Length; i++)
        {
            if (tensors[i] is { } tensor)
                gradients[i] = tensor.ToArray<float>();
        }
        foreach (Tensor? tensor in tensors)
            tensor?.Dispose();
        return gradients;
    }

    /// <summary>A shape as an array.</summary>
    public static long[] Lengths(TensorLayout shape) => [.. Enumerable.Range(0, shape.Rank).Select(i => shape[i])];

    public override string ToString() => $"{Kernel.Name} on {DeviceName}";

    private static TensorView[] Views(Tensor?[] tensors) => [.. tensors.Select(t => t?.View ?? default)];

    private static float[] Values(Operand operand, int seed)
    {
        var random = new Random(seed);
        float[] values = [.. Enumerable.Range(0, (int)operand.Shape.Count).Select(_ => operand.Values.Content switch
        {
            OperandContent.Any => (float)(Enumerable.Range(0, 12).Sum(_ => random.NextDouble()) - 6), // near enough to normal
            OperandContent.Uniform => random.NextSingle(),
            OperandContent.Scales => (0.5f + random.NextSingle()) / 127,
            _ => random.NextInt64(operand.Values.Lower, operand.Values.Upper + 1),
        })];
        if (operand.Values.Content == OperandContent.Offsets)
        {
            Array.Sort(values);
            (values[0], values[^1]) = (0, operand.Values.Upper);
        }
        return values;
    }

    private static Tensor Create(Device device, in Operand operand, float[] values)
    {
        long[] lengths = Lengths(operand.Shape);
        return operand.Type switch
        {
            DataType.Float32 => Tensor.From<float>(device, values, lengths),
            DataType.Int32 => Tensor.From<int>(device, Array.ConvertAll(values, x => (int)x), lengths),
            DataType.Boolean => Tensor.From<bool>(device, Array.ConvertAll(values, x => x != 0), lengths),
            _ => throw new NotSupportedException($"These tests use f32, not {operand.Type.ToText()}."),
        };
    }
}
