namespace KernelEngine.Tests.Linear;

/// <summary>What holds of a linear layer whatever the numbers, through the public calls.</summary>
[TestFixture("reference")]
[TestFixture("cpu")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("simulator", Category = "Simulator")]
public sealed class LinearPropertyTests(string deviceName)
{
    private const int M = 7, N = 5, K = 9;

    private Device Device => TestDevices.Get(deviceName);

    [Test]
    public void GradientsAreTheSlopesOfALoss([Values(DataType.Float32, DataType.Float16, DataType.BFloat16)] DataType type)
    {
        using Tensor input = Normal(1, M, K), weight = Normal(2, type, N, K), gradOutput = Normal(3, M, N);
        using Tensor gradInput = New(M, K), gradWeight = New(N, K);
        double[] x = RandomTensors.Read(input), w = RandomTensors.Read(weight), g = RandomTensors.Read(gradOutput);
        KernelEngine.Linear.Backward(gradOutput, input, weight, gradInput, gradWeight);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(gradInput.ToArray<float>(), Is.EqualTo(Slopes(x)).Within(2e-5));
            Assert.That(gradWeight.ToArray<float>(), Is.EqualTo(Slopes(w)).Within(2e-5));
        }

        IEnumerable<double> Slopes(double[] array) => Enumerable.Range(0, array.Length).Select(i =>
        {
            const double Step = 1e-3;
            double value = array[i];
            array[i] = value + Step;
            double above = Loss();
            array[i] = value - Step;
            double below = Loss();
            array[i] = value;
            return (above - below) / (2 * Step);
        });

        double Loss() => (from m in Enumerable.Range(0, M)
                          from n in Enumerable.Range(0, N)
                          from k in Enumerable.Range(0, K)
                          select g[m * N + n] * x[m * K + k] * w[n * K + k]).Sum();
    }

    [Test]
    public void AGradientLeftOutChangesNothing()
    {
        using Tensor input = Normal(1, M, K), weight = Normal(2, DataType.BFloat16, N, K), gradOutput = Normal(3, M, N);
        using Tensor gradInput = New(M, K), gradWeight = New(N, K), inputAlone = New(M, K), weightAlone = New(N, K);
        KernelEngine.Linear.Backward(gradOutput, input, weight, gradInput, gradWeight);
        KernelEngine.Linear.Backward(gradOutput, input, weight, inputAlone);
        KernelEngine.Linear.Backward(gradOutput, input, weight, gradWeight: weightAlone);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(inputAlone.ToArray<float>(), Is.EqualTo(gradInput.ToArray<float>()));
            Assert.That(weightAlone.ToArray<float>(), Is.EqualTo(gradWeight.ToArray<float>()));
        }
    }

    [Test]
    public void FactorsMayBeTransposedViews([Values(1, 40)] int rows)
    {
        const int Size = 67, Outputs = 35;
        using Tensor input = Normal(1, rows, Size), weight = Normal(2, DataType.BFloat16, Outputs, Size);
        using Tensor inputColumns = Transposed<float>(input), weightColumns = Transposed<BFloat16>(weight), expected = New(rows, Outputs);
        KernelEngine.Linear.Forward(input, weight, expected);
        foreach ((TensorView x, TensorView w) in (ReadOnlySpan<(TensorView, TensorView)>)
            [(inputColumns.View.Transpose(0, 1), weight), (input, weightColumns.View.Transpose(0, 1)),
            (inputColumns.View.Transpose(0, 1), weightColumns.View.Transpose(0, 1))])
        {
            using Tensor output = New(rows, Outputs);
            KernelEngine.Linear.Forward(x, w, output);
            Assert.That(output.ToArray<float>(), Is.EqualTo(expected.ToArray<float>()).Within(1e-4));
        }

        Tensor Transposed<T>(Tensor matrix) where T : unmanaged
        {
            TensorView view = matrix.View.Transpose(0, 1);
            return Tensor.From<T>(Device, view.ToArray<T>(), view[0], view[1]);
        }
    }

    [Test]
    public void BadArgumentsAreNamedBeforeAnythingIsWritten()
    {
        using Tensor input = Normal(1, M, K), weight = Normal(2, N, K), gradOutput = Normal(3, M, N);
        using Tensor gradInput = New(M, K), gradWeight = New(N, K), wrong = New(K, N);
        float[] before = input.ToArray<float>();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => KernelEngine.Linear.Backward(gradOutput, input, weight, gradInput, wrong), Throws.ArgumentException
                .With.Message.Contains("gradWeight must have shape [outputSize=5, inputSize=9] but has [9, 5]"));
            Assert.That(() => KernelEngine.Linear.Backward(wrong, input, weight, gradInput, gradWeight), Throws.ArgumentException
                .With.Message.Contains("gradOutput must have shape [rows=7, outputSize=5] but has [9, 5]"));
            Assert.That(() => KernelEngine.Linear.Backward(gradOutput, input, weight, input, gradWeight), Throws.ArgumentException
                .With.Message.Contains("gradInput must not overlap input"));
            Assert.That(gradInput.ToArray<float>(), Has.All.Zero);
            Assert.That(input.ToArray<float>(), Is.EqualTo(before));
        }
    }

    private Tensor New(params ReadOnlySpan<long> shape) => Tensor.Allocate(Device, DataType.Float32, shape);

    private Tensor Normal(int seed, params ReadOnlySpan<long> shape) => Normal(seed, DataType.Float32, shape);

    private Tensor Normal(int seed, DataType type, params ReadOnlySpan<long> shape) => RandomTensors.Create(
        Device, new Operand("", OperandRole.Input, type, TensorLayout.Contiguous(shape), ""), seed);
}
