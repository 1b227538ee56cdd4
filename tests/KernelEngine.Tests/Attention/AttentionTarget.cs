namespace KernelEngine.Tests.Attention;

/// <summary>One attention kernel on one device, as the source of a test fixture.</summary>
public sealed record AttentionTarget(Operation<AttentionProblem> Operation, Kernel<AttentionProblem> Kernel, string DeviceName)
{
    /// <summary>Every kernel of both operations on every device that it can run on here.</summary>
    public static IEnumerable<TestFixtureData> All()
    {
        foreach (Operation<AttentionProblem> operation in (Operation<AttentionProblem>[])[KernelEngine.Attention.ForwardOperation, KernelEngine.Attention.DecodeOperation])
        {
            foreach (Kernel<AttentionProblem> kernel in operation.Kernels.Where(k => k.WhyUnavailable is null))
            {
                foreach (string device in TestDevices.NamesFor(kernel.Devices).Where(d => TestDevices.TryGet(d).Device is not null))
                {
                    TestFixtureData data = new TestFixtureData(new AttentionTarget(operation, kernel, device)).SetArgDisplayNames(kernel.Name, device);
                    if (TestDevices.CategoryOf(device) is { } category)
                        data.Properties.Add("Category", category);
                    yield return data;
                }
            }
        }
    }

    /// <summary>Computes f32 attention on contiguous tensors; ignores the running test when the kernel does not take the problem.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="query">Its query.</param>
    /// <param name="key">Its key.</param>
    /// <param name="value">Its value.</param>
    /// <param name="inputs">The optional operands it has, by index: floats, integers or truth values.</param>
    public (float[] Output, float[] Lse) Run(
        in AttentionProblem problem, float[] query, float[] key, float[] value, params ReadOnlySpan<(int Index, Array Values)> inputs)
    {
        if (Kernel.WhyUnsupported(problem) is { } reason)
            Assert.Ignore(reason);
        Device device = TestDevices.Get(DeviceName);
        var tensors = new Tensor?[AttentionProblem.Count];
        try
        {
            tensors[AttentionProblem.Query] = Make(device, problem, AttentionProblem.Query, query);
            tensors[AttentionProblem.Key] = Make(device, problem, AttentionProblem.Key, key);
            tensors[AttentionProblem.Value] = Make(device, problem, AttentionProblem.Value, value);
            Tensor output = tensors[AttentionProblem.Output] = Make<float>(device, problem, AttentionProblem.Output, null);
            Tensor lse = tensors[AttentionProblem.Lse] = Make<float>(device, problem, AttentionProblem.Lse, null);
            foreach ((int index, Array values) in inputs)
            {
                tensors[index] = values switch
                {
                    float[] floats => Make(device, problem, index, floats),
                    int[] integers => Make(device, problem, index, integers),
                    bool[] truths => Make(device, problem, index, truths),
                    _ => throw new ArgumentException($"No operand holds {values.GetType()}.", nameof(inputs)),
                };
            }
            device.Run(Operation, problem, tensors.Select(t => t?.View ?? default).ToArray(), Kernel);
            return (output.ToArray<float>(), lse.ToArray<float>());
        }
        finally
        {
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
        }
    }

    private static Tensor Make<T>(Device device, in AttentionProblem problem, int index, T[]? values) where T : unmanaged
    {
        TensorLayout layout = problem.GetOperand(index).Shape;
        long[] lengths = [.. Enumerable.Range(0, layout.Rank).Select(i => layout[i])];
        return values is null ? Tensor.Allocate(device, DataTypes.Of<T>(), lengths) : Tensor.From<T>(device, values, lengths);
    }
}
