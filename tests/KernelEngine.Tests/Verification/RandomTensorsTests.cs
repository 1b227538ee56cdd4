namespace KernelEngine.Tests.Verification;

public sealed class RandomTensorsTests
{
    [TestCase(DataType.Float32)]
    [TestCase(DataType.BFloat16)]
    public void LargeInputsRepeatThemselves(DataType type)
    {
        using Device device = DeviceList.Open("cpu", 1);
        var operand = new Operand("input", OperandRole.Input, type, TensorLayout.Contiguous([5, 7]), "rows, columns");
        using Tensor tensor = RandomTensors.CreateRepeating(device, operand, seed: 3, period: 8);
        using Tensor period = RandomTensors.Create(device, operand with { Shape = TensorLayout.Contiguous([8]) }, seed: 3);
        double[] expected = RandomTensors.Read(period);
        Assert.That(RandomTensors.Read(tensor), Is.EqualTo(Enumerable.Range(0, 35).Select(i => expected[i % 8])));
    }

    [Test]
    public void SmallInputsAreTheSameAsWithoutAPeriod()
    {
        using Device device = DeviceList.Open("cpu", 1);
        var operand = new Operand("input", OperandRole.Input, DataType.Float32, TensorLayout.Contiguous([5, 7]), "rows, columns");
        using Tensor tensor = RandomTensors.CreateRepeating(device, operand, seed: 3);
        using Tensor other = RandomTensors.Create(device, operand, seed: 3);
        Assert.That(RandomTensors.Read(tensor), Is.EqualTo(RandomTensors.Read(other)));
    }
}
