namespace KernelEngine.Tests.CrossEntropy;

/// <summary>One kernel of an operation on one device. Tensors go in and out as arrays of doubles, which hold every storage type.</summary>
public sealed record CrossEntropyTarget<TProblem>(Operation<TProblem> Operation, Kernel<TProblem> Kernel, string DeviceName)
    where TProblem : struct, IProblem<TProblem>
{
    // Outputs begin as this, so that what nobody writes shows.
    private const double Canary = 77;

    /// <summary>Every kernel of the operation on every device that it can run on here; the plain one, of one thread, on one.</summary>
    public static IEnumerable<CrossEntropyTarget<TProblem>> All(Operation<TProblem> operation) =>
        from kernel in operation.Kernels.Append(operation.Plain)
        where kernel.WhyUnavailable is null
        from device in TestDevices.NamesFor(kernel.Devices)
        where TestDevices.TryGet(device).Device is not null && (kernel != operation.Plain || device == "cpu")
        select new CrossEntropyTarget<TProblem>(operation, kernel, device);

    /// <summary>All of them as the sources of a test fixture.</summary>
    public static IEnumerable<TestFixtureData> Fixtures(Operation<TProblem> operation)
    {
        foreach (CrossEntropyTarget<TProblem> target in All(operation))
        {
            TestFixtureData data = new TestFixtureData(target).SetArgDisplayNames(target.Kernel.Name, target.DeviceName);
            if (TestDevices.CategoryOf(target.DeviceName) is { } category)
                data.Properties.Add("Category", category);
            yield return data;
        }
    }

    /// <summary>
    /// The outputs by operand, null for those that the problem does not have or that are <paramref name="leftOut"/>. Ignores the
    /// running test when the kernel does not take the problem, or would take minutes for it.
    /// </summary>
    public double[]?[] Run(in TProblem problem, double[]?[] inputs, params int[] leftOut)
    {
        if (Kernel.WhyUnsupported(problem) is { } reason)
            Assert.Ignore(reason);
        if (TestDevices.KindOf(DeviceName) == DeviceKinds.Simulator && problem.Flops > TestDevices.SimulatorFlopLimit)
            Assert.Ignore("Too large for the simulated GPU.");
        Device device = TestDevices.Get(DeviceName);
        var tensors = new Tensor?[problem.OperandCount];
        try
        {
            for (int i = 0; i < tensors.Length; i++)
            {
                Operand operand = problem.GetOperand(i);
                if (operand.Role == OperandRole.Input && inputs[i] is { } values)
                    tensors[i] = CrossEntropyData.ToTensor(device, operand, values);
                else if (operand.Role == OperandRole.Output && !leftOut.Contains(i))
                    tensors[i] = CrossEntropyData.ToTensor(device, operand, [.. Enumerable.Repeat(Canary, (int)operand.Shape.Count)]);
            }
            device.Run(Operation, problem, tensors.Select(t => t?.View ?? default).ToArray(), Kernel);
            var outputs = new double[]?[tensors.Length];
            for (int i = 0; i < tensors.Length; i++)
            {
                if (problem.GetOperand(i).Role == OperandRole.Output && tensors[i] is { } tensor)
                    outputs[i] = RandomTensors.Read(tensor);
            }
            return outputs;
        }
        finally
        {
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
        }
    }

    public override string ToString() => $"{Kernel.Name} on {DeviceName}";
}
