using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheNormsTests : OperationTests<KvCacheNormsCases, KvCacheNormsProblem>
{
    [TestCase("cpu")]
    [TestCase("reference")]
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    public void NormsOfRightTriangles(string deviceName)
    {
        // Two cells of two pages of two slots; entries of the table that no slot in use needs point nowhere.
        Device device = TestDevices.Get(deviceName);
        using Tensor key = Tensor.From<float>(device, [3, 4, 5, 12, 8, 15, 0, 0, 7, 24, 9, 9], 3, 2, 1, 2);
        using Tensor value = Tensor.From<float>(device, [-1, -2, -3, 4, 5, 6], 3, 2, 1, 1);
        using Tensor table = Tensor.From<int>(device, [2, 0, 1, -1], 2, 2), lengths = Tensor.From<int>(device, [3, 2], 2);
        using Tensor keyNorms = Tensor.From<float>(device, new float[8], 2, 4),
            valueNorms = Tensor.From<float>(device, [7, 7, 7, 7, 7, 7, 7, 7], 2, 4);
        KvCells.Norms(key, value, table, lengths, keyNorms);
        Assert.That(keyNorms.ToArray<float>(), Is.EqualTo((float[])[25, 12.7279221f, 5, 0, 17, 0, 0, 0]).Within(1e-6f));
        Assert.That(valueNorms.ToArray<float>(), Is.All.EqualTo(7));
        KvCells.Norms(key, value, table, lengths, default, valueNorms);
        Assert.That(valueNorms.ToArray<float>(), Is.EqualTo((float[])[5, 6, 1, 0, 3, 4, 0, 0]));
    }

    [Test]
    public void BadLengthsAndPagesAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor key = Tensor.Allocate(device, DataType.Float32, 3, 2, 1, 2), norms = Tensor.Allocate(device, DataType.Float32, 1, 4);
        using Tensor table = Tensor.From<int>(device, [2, 3], 1, 2), lengths = Tensor.From<int>(device, [3], 1),
            tooLong = Tensor.From<int>(device, [5], 1);
        Assert.That(() => KvCells.Norms(key, key, table, lengths, norms),
            Throws.ArgumentException.With.Message.Contains("pageTable[0, 1]"));
        Assert.That(() => KvCells.Norms(key, key, table, tooLong, norms), Throws.ArgumentException.With.Message.Contains("lengths[0]"));
    }
}
