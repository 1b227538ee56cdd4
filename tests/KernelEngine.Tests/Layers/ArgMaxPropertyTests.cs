namespace KernelEngine.Tests.Layers;

/// <summary>Ties, NaN and infinities at every position of rows around every vector width.</summary>
public sealed class ArgMaxPropertyTests
{
    private static IEnumerable<Kernel<ArgMaxProblem>> Kernels => HostKernels.Of(KernelEngine.Layers.ArgMaxOperation);

    [TestCaseSource(nameof(Kernels))]
    public void TheLowestOfEqualLogitsWins(Kernel<ArgMaxProblem> kernel)
    {
        ForEachPosition((row, position) =>
        {
            Array.Fill(row, 3f, position, row.Length - position);
            Assert.That(Find(kernel, row), Is.EqualTo(position), $"size {row.Length}");
        });
    }

    [TestCaseSource(nameof(Kernels))]
    public void ANaNAnywhereGivesMinusOne(Kernel<ArgMaxProblem> kernel)
    {
        ForEachPosition((row, position) =>
        {
            row[position] = float.NaN;
            Assert.That(Find(kernel, row), Is.EqualTo(-1), $"size {row.Length}, NaN at {position}");
        });
    }

    [TestCaseSource(nameof(Kernels))]
    public void InfinitiesAreNumbers(Kernel<ArgMaxProblem> kernel)
    {
        ForEachPosition((row, position) =>
        {
            Array.Fill(row, float.NegativeInfinity);
            Assert.That(Find(kernel, row), Is.EqualTo(-1), "only minus infinity");
            row[position] = float.MinValue;
            Assert.That(Find(kernel, row), Is.EqualTo(position));
            row[position] = float.PositiveInfinity;
            Assert.That(Find(kernel, row), Is.EqualTo(position));
        });
    }

    private static void ForEachPosition(Action<float[], int> check)
    {
        foreach (int size in (int[])[1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 47, 65])
        {
            for (int position = 0; position < size; position++)
                check([.. Enumerable.Range(0, size).Select(i => -0.5f - i % 3)], position);
        }
    }

    private static int Find(Kernel<ArgMaxProblem> kernel, float[] row)
    {
        Device device = HostKernels.DeviceOf(kernel);
        using Tensor logits = Tensor.From<float>(device, row, 1, row.Length);
        using Tensor indices = Tensor.Allocate(device, DataType.Int32, 1);
        device.Run(KernelEngine.Layers.ArgMaxOperation, new ArgMaxProblem(1, row.Length), [logits, indices], kernel);
        return indices.ToArray<int>()[0];
    }
}
