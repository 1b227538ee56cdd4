namespace KernelEngine.Tests.Linear;

/// <summary>Weights that are not numbers reach the output, and only the rows that hold them.</summary>
public sealed class MatrixVectorTests
{
    private static IEnumerable<Kernel<LinearProblem>> CpuKernels() =>
        KernelEngine.Linear.ForwardOperation.Kernels.Where(k => (k.Devices & DeviceKinds.Cpu) != 0 && k.WhyUnavailable is null);

    [TestCaseSource(nameof(CpuKernels))]
    public void InfinitiesAndNansOfHalfPrecisionWeightsAreKept(Kernel<LinearProblem> kernel)
    {
        const int Features = 5, Size = 83;
        var weights = new Half[Features * Size];
        Array.Fill(weights, (Half)0.5f);
        weights[1 * Size + 3] = Half.PositiveInfinity;
        weights[3 * Size + 40] = Half.NaN;
        weights[4 * Size + 82] = Half.NegativeInfinity;
        var input = new float[Size];
        Array.Fill(input, 2f);
        Device device = TestDevices.Get("cpu");
        using Tensor x = Tensor.From<float>(device, input, 1, Size), w = Tensor.From<Half>(device, weights, Features, Size);
        using Tensor y = Tensor.Allocate(device, DataType.Float32, 1, Features);

        device.Run(
            KernelEngine.Linear.ForwardOperation, new LinearProblem(1, Features, Size, DataType.Float16), [x, w, y], kernel);

        Assert.That(
            y.ToArray<float>(), Is.EqualTo(new[] { Size, float.PositiveInfinity, Size, float.NaN, float.NegativeInfinity }));
    }
}
