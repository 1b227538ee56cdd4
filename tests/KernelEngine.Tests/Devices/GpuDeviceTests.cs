using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;
using Half = System.Half;

namespace KernelEngine.Tests.Devices;

/// <summary>Memory, queue and compiler of the devices that run ILGPU's code.</summary>
[TestFixture("simulator", Category = "Simulator")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
public sealed class GpuDeviceTests(string name)
{
    private GpuDevice _device = null!;

    [SetUp]
    public void Open()
    {
        if (TestDevices.TryGet(name).Reason is { } reason)
            Assert.Ignore(reason);
        _device = (GpuDevice)DeviceList.Open(name);
    }

    [TearDown]
    public void Close() => _device?.Dispose();

    [Test]
    public void NewTensorsAreZero()
    {
        using Tensor tensor = Tensor.Allocate(_device, DataType.Float32, 3, 1000);
        Assert.That(tensor.ToArray<float>(), Is.All.Zero);
    }

    [Test]
    public void CopiesComeBack([Values(0, 1, 3, 4099)] int count)
    {
        byte[] bytes = new byte[2 * count];
        new Random(1).NextBytes(bytes);
        Half[] values = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, Half>(bytes).ToArray();
        using Tensor tensor = Tensor.From<Half>(_device, values, count);
        short[] actual = Array.ConvertAll(tensor.ToArray<Half>(), BitConverter.HalfToInt16Bits);
        Assert.That(actual, Is.EqualTo(Array.ConvertAll(values, BitConverter.HalfToInt16Bits)));
    }

    [Test]
    public void MemoryReturnsToTheBaseline()
    {
        long before = _device.AllocatedBytes;
        var tensors = new List<Tensor>();
        for (int i = 1; i <= 20; i++)
            tensors.Add(Tensor.Allocate(_device, DataType.BFloat16, i, 77));
        Assert.That(_device.AllocatedBytes - before, Is.GreaterThanOrEqualTo(20 * 21 / 2 * 77 * 2));
        foreach (Tensor tensor in tensors)
        {
            tensor.Dispose();
            tensor.Dispose();
        }
        Assert.That(_device.AllocatedBytes, Is.EqualTo(before));
    }

    [Test]
    public void TensorsMayOutliveTheirDevice()
    {
        Tensor tensor = Tensor.Allocate(_device, DataType.Float32, 8);
        _device.Dispose();
        _device.Dispose();
        Assert.That(tensor.Dispose, Throws.Nothing);
        Assert.That(() => Tensor.Allocate(_device, DataType.Float32, 8), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(_device.AllocatedBytes, Is.Zero);
    }

    [Test]
    public void BorrowedMemoryIsRefused() =>
        Assert.That(() => Tensor.Wrap<float>(_device, new float[4], 4), Throws.InstanceOf<NotSupportedException>().With.Message.Contains(name));

    [Test]
    public void ViewsOfOtherDevicesAreRefused()
    {
        using Device cpu = DeviceList.Open("cpu", 1);
        using Tensor here = Tensor.Allocate(_device, DataType.Float32, 2, 4), there = Tensor.Allocate(cpu, DataType.Float32, 2, 4);
        Assert.That(() => KernelEngine.Layers.ResidualAdd(here, there), Throws.ArgumentException.With.Message.Contains("'cpu'"));
    }

    [Test]
    public void ThreadsShareTheQueue()
    {
        const int Threads = 4, Rounds = 10;
        float[][] results = new float[Threads][];
        var errors = new System.Collections.Concurrent.ConcurrentBag<Exception>();
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(t => new Thread(() =>
        {
            try
            {
                using Tensor residual = Tensor.Allocate(_device, DataType.Float32, 1, 40);
                using Tensor input = Tensor.From<float>(_device, Enumerable.Repeat(t + 1f, 40).ToArray(), 1, 40);
                for (int i = 0; i < Rounds; i++)
                    KernelEngine.Layers.ResidualAdd(residual, input);
                results[t] = residual.ToArray<float>();
            }
            catch (Exception e)
            {
                errors.Add(e);
            }
        }))];
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        Assert.That(errors, Is.Empty);
        for (int t = 0; t < Threads; t++)
            Assert.That(results[t], Is.All.EqualTo(Rounds * (t + 1f)));
    }

    [Test]
    public void BarriersOrderSharedMemory()
    {
        int groups = name == "simulator" ? 2 : 256, rounds = name == "simulator" ? 20 : 500;
        var entry = new GpuEntry<SharedExchange.Parameters>(
            SharedExchange.ExchangeThroughSharedMemory, SharedExchange.Threads, 4 * SharedExchange.Threads, hasQuadLoads: false);
        int[] values = Enumerable.Range(0, groups * SharedExchange.Threads).ToArray();
        using Tensor tensor = Tensor.From<int>(_device, values, groups, SharedExchange.Threads);
        _device.Launch(entry, groups, new SharedExchange.Parameters
        {
            Values = ((GpuStorage)tensor.View.Storage!).View.Cast<int>(),
            Rounds = rounds,
        });
        Assert.That(tensor.ToArray<int>(), Is.EqualTo(Exchange(values, rounds)));
    }

    // What the kernel's comment says, one group after another.
    private static int[] Exchange(int[] values, int rounds)
    {
        int[] current = (int[])values.Clone();
        for (int round = 0; round < rounds; round++)
        {
            int[] next = new int[current.Length];
            for (int i = 0; i < current.Length; i++)
            {
                int group = i / SharedExchange.Threads * SharedExchange.Threads;
                next[i] = unchecked(3 * current[group + (i - group + round + 1) % SharedExchange.Threads] + current[i] + round);
            }
            current = next;
        }
        return current;
    }
}
