using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>What runs finished PTX: the driver, or an emulator in tests. The device's lock guards it.</summary>
internal interface ICudaExecutor : IDisposable
{
    /// <summary>Learns of memory that kernels may touch.</summary>
    void Allocated(long address, long bytes);

    /// <summary>Queues a launch; the first one of an entry compiles it.</summary>
    void Launch(CudaEntry entry, int groups, ReadOnlySpan<byte> parameters);

    /// <summary>Describes a tensor of 16-bit elements to the copy engine, for boxes with rows of 128 bytes, swizzled.</summary>
    /// <param name="address">The first element, on 16 bytes.</param>
    /// <param name="type">What the elements are.</param>
    /// <param name="sizes">From the innermost dimension on; all positive.</param>
    /// <param name="byteStrides">Of the dimensions after the innermost, multiples of 16.</param>
    /// <param name="box">What one copy moves.</param>
    TensorMap EncodeTensorMap(long address, DataType type, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box);
}
