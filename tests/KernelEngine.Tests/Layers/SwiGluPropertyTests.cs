namespace KernelEngine.Tests.Layers;

/// <summary>The gate at the ends of the range of floats, in every lane and in the remainder of a row.</summary>
public sealed class SwiGluPropertyTests
{
    private static IEnumerable<Kernel<SwiGluProblem>> Kernels => HostKernels.Of(KernelEngine.Layers.SwiGluOperation);

    [TestCaseSource(nameof(Kernels))]
    public void SpecialValuesFollowTheFormula(Kernel<SwiGluProblem> kernel)
    {
        float[] gates = [0, -0f, 1e30f, -1e30f, 100, -100, 88, -88, float.PositiveInfinity, float.NaN, float.MaxValue, float.MinValue, 1e-40f];
        foreach (float gate in gates)
        {
            float expected = float.IsNegative(gate) && gate < -87 ? 0 : (float)(gate / (1 + Math.Exp(-(double)gate)));
            float[] actual = Compute(kernel, [.. Enumerable.Repeat(gate, 37)]);
            if (float.IsFinite(expected))
                Assert.That(actual, Is.All.EqualTo(expected).Within(1e-36f + 2e-7f * Math.Abs(expected)), $"silu({gate:g9})");
            else
                Assert.That(actual, Is.All.EqualTo(expected), $"silu({gate:g9})");
        }
    }

    [TestCaseSource(nameof(Kernels))]
    public void MinusInfinityHasNoValue(Kernel<SwiGluProblem> kernel) =>
        Assert.That(Compute(kernel, [float.NegativeInfinity]), Is.All.NaN, "minus infinity over infinity, as the formula says");

    private static float[] Compute(Kernel<SwiGluProblem> kernel, float[] gates)
    {
        Device device = HostKernels.DeviceOf(kernel);
        using Tensor gate = Tensor.From<float>(device, gates, 1, gates.Length);
        using Tensor up = Tensor.From<float>(device, [.. Enumerable.Repeat(1f, gates.Length)], 1, gates.Length);
        using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, gates.Length);
        device.Run(KernelEngine.Layers.SwiGluOperation, new SwiGluProblem(1, gates.Length), [gate, up, output], kernel);
        return output.ToArray<float>();
    }
}
