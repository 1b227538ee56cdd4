namespace KernelEngine.Tests.Attention;

/// <summary>One attention kernel on one device, as the source of a property test's cases.</summary>
public sealed record AttentionTarget(Operation<AttentionProblem> Operation, Kernel<AttentionProblem> Kernel, string DeviceName)
{
    /// <summary>Every kernel of both operations on every device that it can run on here.</summary>
    public static IEnumerable<TestCaseData> All()
    {
        foreach (Operation<AttentionProblem> operation in (Operation<AttentionProblem>[])[KernelEngine.Attention.ForwardOperation, KernelEngine.Attention.DecodeOperation])
        {
            foreach (Kernel<AttentionProblem> kernel in operation.Kernels.Where(k => k.WhyUnavailable is null))
            {
                foreach (string device in TestDevices.NamesFor(kernel.Devices).Where(d => TestDevices.TryGet(d).Device is not null))
                {
                    TestCaseData data = new TestCaseData(new AttentionTarget(operation, kernel, device)).SetArgDisplayNames(kernel.Name, device);
                    yield return TestDevices.CategoryOf(device) is { } category ? data.SetCategory(category) : data;
                }
            }
        }
    }

    /// <summary>Computes f32 attention on contiguous tensors; ignores the running test when the kernel does not take the problem.</summary>
    public (float[] Output, float[] Lse) Run(in AttentionProblem problem, float[] query, float[] key, float[] value)
    {
        if (Kernel.WhyUnsupported(problem) is { } reason)
            Assert.Ignore(reason);
        Device device = TestDevices.Get(DeviceName);
        using Tensor q = Tensor.From<float>(device, query, problem.BatchSize, problem.QueryLength, problem.NumHeads, problem.HeadDim);
        using Tensor k = Tensor.From<float>(device, key, problem.BatchSize, problem.KvLength, problem.NumKvHeads, problem.HeadDim);
        using Tensor v = Tensor.From<float>(device, value, problem.BatchSize, problem.KvLength, problem.NumKvHeads, problem.ValueHeadDim);
        using Tensor output = Tensor.Allocate(
            device, DataType.Float32, problem.BatchSize, problem.QueryLength, problem.NumHeads, problem.ValueHeadDim);
        using Tensor lse = Tensor.Allocate(device, DataType.Float32, problem.BatchSize, problem.NumHeads, problem.QueryLength);
        device.Run(Operation, problem, [q.View, k.View, v.View, output.View, lse.View], Kernel);
        return (output.ToArray<float>(), lse.ToArray<float>());
    }
}
