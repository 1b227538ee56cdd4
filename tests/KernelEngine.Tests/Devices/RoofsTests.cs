namespace KernelEngine.Tests.Devices;

[TestFixture]
public sealed class RoofsTests
{
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    [TestCase("cpu")]
    public void RoofsArePlausible(string name)
    {
        Roof roof = Roofs.Measure(TestDevices.Get(name));
        TestContext.Out.WriteLine($"{name}: {roof.Gflops:f1} GFLOP/s, {roof.ReadBytesPerSecond / 1e9:f1} GB/s");
        using (Assert.EnterMultipleScope())
        {
            // No processor does less than a tenth of an operation a cycle or more than 100 PFLOP/s.
            Assert.That(roof.Gflops, Is.InRange(name == "simulator" ? 1e-6 : 0.1, 1e8));
            Assert.That(roof.ReadBytesPerSecond, Is.InRange(name == "simulator" ? 1e3 : 1e8, 1e14));
        }
    }

    [Test]
    public void TheReferenceHasNone()
    {
        using Device reference = DeviceList.Open("reference");
        Assert.That(() => Roofs.Measure(reference), Throws.InstanceOf<NotSupportedException>());
    }
}
