using System.Runtime.InteropServices;

namespace KernelEngine.Tests.Devices;

/// <summary>
/// Memory of others as operands of a GPU device. The simulator's is the process's own, so that all of it but the driver is tested anywhere.
/// </summary>
public sealed unsafe class ForeignMemoryTests
{
    private static Device Simulator => TestDevices.Get("simulator");

    [Test]
    public void KernelsReadAndWriteItWhereItLies()
    {
        const int Rows = 3, Size = 8, RowStride = 12;
        var memory = (float*)NativeMemory.AlignedAlloc(2 * Rows * RowStride * sizeof(float), 16);
        try
        {
            new Span<float>(memory, 2 * Rows * RowStride).Fill(-1);
            var layout = new TensorLayout([Rows, Size], [RowStride, 1]);
            for (int i = 0; i < Rows * Size; i++)
                memory[i / Size * RowStride + i % Size] = i;
            using Tensor input = Tensor.Wrap(Simulator, memory, DataType.Float32, layout);
            using Tensor output = Tensor.Wrap(Simulator, memory + Rows * RowStride, DataType.Float32, layout);
            using Tensor sum = Tensor.From<float>(Simulator, new float[Rows * Size], Rows, Size);
            KernelEngine.Layers.ResidualAdd(output, input);
            KernelEngine.Layers.ResidualAdd(sum, input);
            Simulator.Synchronize();
            for (int i = 0; i < Rows * RowStride; i++)
            {
                bool isGap = i % RowStride >= Size;
                Assert.That(memory[Rows * RowStride + i], Is.EqualTo(isGap ? -1f : i / RowStride * Size + i % RowStride - 1));
            }
            Assert.That(sum.ToArray<float>(), Is.EqualTo(Enumerable.Range(0, Rows * Size).Select(i => (float)i)));
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    [Test]
    public void CopiesGoInAndOut()
    {
        float* memory = (float*)NativeMemory.AlignedAlloc(4 * sizeof(float), 16);
        try
        {
            using Tensor tensor = Tensor.Wrap(Simulator, memory, DataType.Float32, TensorLayout.Contiguous([4]));
            tensor.CopyFrom<float>([1, 2, 3, 4]);
            Simulator.Synchronize();
            Assert.That(memory[3], Is.EqualTo(4));
            memory[0] = 9;
            Assert.That(tensor.ToArray<float>(), Is.EqualTo((float[])[9, 2, 3, 4]));
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    [Test]
    public void WhatCannotBeIsRefused()
    {
        Assert.That(() => Tensor.Wrap(Simulator, (void*)0x1008, DataType.Float32, TensorLayout.Contiguous([4])),
            Throws.ArgumentException.With.Message.Contains("aligned to 16 bytes"));
        var simulator = (GpuDevice)Simulator;
        Assert.That(() => simulator.UseStream(1), Throws.TypeOf<NotSupportedException>().With.Message.Contains("has no driver"));
        Assert.That(() => simulator.Context, Throws.TypeOf<NotSupportedException>().With.Message.Contains("has no driver"));
    }

    [Test]
    [Category("OpenCL")]
    public void OpenClBufferIsTakenByItsName()
    {
        Device device = TestDevices.Get("opencl");
        using Tensor owner = Tensor.From<float>(device, [1, 2, 3, 4], 4);
        using Tensor input = Tensor.From<float>(device, [10, 20, 30, 40], 2, 2);
        nint name = (nint)GpuView.AddressOf(((GpuStorage)owner.View.Storage!).View);
        using Tensor borrowed = Tensor.Wrap(device, (void*)name, DataType.Float32, TensorLayout.Contiguous([2, 2]));
        KernelEngine.Layers.ResidualAdd(borrowed, input);
        Assert.That(owner.ToArray<float>(), Is.EqualTo((float[])[11, 22, 33, 44]));
        borrowed.CopyFrom<float>([5, 6, 7, 8]);
        Assert.That(owner.ToArray<float>(), Is.EqualTo((float[])[5, 6, 7, 8]));
        Assert.That(borrowed.ToArray<float>(), Is.EqualTo((float[])[5, 6, 7, 8]));
    }

    [Test]
    [Category("OpenCL")]
    public void OpenClOperandsByNameAreOneStorageABuffer()
    {
        Device device = TestDevices.Get("opencl");
        using Tensor owner = Tensor.From<float>(device, [1, 2, 3, 4], 2, 2);
        nint name = (nint)GpuView.AddressOf(((GpuStorage)owner.View.Storage!).View);
        TensorView view = Operand(device, name, 2);
        Assert.That(Operand(device, name, 2).Storage, Is.SameAs(view.Storage));
        Assert.That(() => KernelEngine.Layers.ResidualAdd(view, view), Throws.ArgumentException.With.Message.Contains("must not overlap"));
        KernelEngine.Layers.ResidualAdd(Operand(device, 0, 0), Operand(device, 0, 0)); // of no rows, in no buffer
        KernelEngine.Layers.ResidualAdd(view, Tensor.From<float>(device, [1, 1, 1, 1], 2, 2));
        Assert.That(owner.ToArray<float>(), Is.EqualTo((float[])[2, 3, 4, 5]));
    }

    [Test]
    [Category("OpenCL")]
    public void OpenClNamesItsContext() => Assert.That(((GpuDevice)TestDevices.Get("opencl")).Context, Is.Not.Zero);

    [Test]
    public void CudaNamesItsContext() => Assert.That(((GpuDevice)TestDevices.Get("cuda")).Context, Is.Not.Zero);

    // As the C ABI makes operands.
    private static TensorView Operand(Device device, nint address, int rows)
    {
        (TensorStorage storage, long byteOffset) = device.Locate(address);
        return new TensorView(storage, byteOffset, DataType.Float32, TensorLayout.Contiguous([rows, 2]));
    }
}
