namespace KernelEngine.Tests.Embedding;

/// <summary>DLPack within .NET: a tensor lent and borrowed again is the same memory, and stays until the last one lets go.</summary>
public sealed unsafe class DlpackTests
{
    private readonly Device _device = DeviceList.Open("cpu", 1);

    [OneTimeTearDown]
    public void Close() => _device.Dispose();

    [Test]
    public void BorrowedTensorIsTheSameMemory([Values] DataType type)
    {
        using Tensor owner = Tensor.Allocate(_device, type, 2, 3);
        using Tensor borrowed = Tensor.FromDlpack(_device, owner.ToDlpack());
        Assert.That(borrowed.Type, Is.EqualTo(type));
        Assert.That(borrowed.Layout, Is.EqualTo(owner.Layout));
        Assert.That(((HostStorage)borrowed.View.Storage!).Address == ((HostStorage)owner.View.Storage!).Address, Is.True);
    }

    [Test]
    public void MemoryStaysUntilTheLastLetsGo()
    {
        var memory = new float[] { 1, 2, 3 };
        Tensor owner = Tensor.Wrap<float>(_device, memory, 3);
        Tensor borrowed = Tensor.FromDlpack(_device, owner.ToDlpack());
        owner.Dispose();
        Assert.That(borrowed.ToArray<float>(), Is.EqualTo(memory));
        Assert.That(() => owner.ToDlpack(), Throws.InstanceOf<ObjectDisposedException>());
        borrowed.Dispose();
        borrowed.Dispose();
    }

    [Test]
    public void EmptyTensorIsTaken()
    {
        using Tensor owner = Tensor.Allocate(_device, DataType.Float32, 0, 3);
        using Tensor borrowed = Tensor.FromDlpack(_device, owner.ToDlpack());
        Assert.That(borrowed.Layout.Count, Is.Zero);
    }

    [Test]
    public void ReadOnlyMemoryIsNotWritten()
    {
        using Tensor owner = Tensor.Allocate(_device, DataType.Float32, 2, 3);
        var managed = (DlpackManagedTensor*)owner.ToDlpack();
        managed->Flags = DlpackManagedTensor.ReadOnly;
        using Tensor borrowed = Tensor.FromDlpack(_device, managed);
        using Tensor input = Tensor.Allocate(_device, DataType.Float32, 2, 3);
        Assert.That(() => KernelEngine.Layers.ResidualAdd(borrowed.Slice(0, 0, 2), input), Throws.ArgumentException.With.Message.Contains("may only be read"));
        Assert.That(() => borrowed.CopyFrom<float>(new float[6]), Throws.InvalidOperationException);
        KernelEngine.Layers.ResidualAdd(input, borrowed);
    }
}
