namespace KernelEngine;

public sealed partial class Tensor
{
    /// <summary>
    /// Borrows a tensor that another library offers through DLPack: strides and the read-only flag are honoured, nothing is copied.
    /// <see cref="Dispose"/> calls its deleter, once. When this throws, the tensor stays the caller's and its deleter is not called.
    /// </summary>
    /// <param name="device">A device that works in host memory.</param>
    /// <param name="managed">A <c>DLManagedTensorVersioned*</c> of DLPack 1.</param>
    /// <exception cref="ArgumentException">The shape, the strides or the address make no sense.</exception>
    /// <exception cref="NotSupportedException">Another version, element type or kind of device.</exception>
    public static unsafe Tensor FromDlpack(Device device, void* managed)
    {
        CpuDevice host = HostDevice(device);
        var import = new DlpackImport((DlpackManagedTensor*)managed);
        return new Tensor(host.Borrow(import.Pin(), import.Bytes), import.Type, import.Layout, import.IsReadOnly);
    }

    /// <summary>
    /// Offers the tensor to another library through DLPack, without a copy. The consumer owns what is returned and calls its
    /// deleter; until then the memory stays, even after <see cref="Dispose"/>.
    /// </summary>
    /// <returns>A <c>DLManagedTensorVersioned*</c> of DLPack 1.</returns>
    /// <exception cref="NotSupportedException">The tensor is not in host memory.</exception>
    /// <exception cref="ObjectDisposedException">The tensor was disposed.</exception>
    public unsafe void* ToDlpack() => DlpackExport.Create(View);
}
