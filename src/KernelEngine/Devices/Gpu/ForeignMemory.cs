using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace KernelEngine;

/// <summary>Memory of somebody else's: of a CUDA device, a cl_mem, or of the process under the simulator.</summary>
internal sealed class ForeignMemory : MemoryBuffer
{
    public ForeignMemory(Accelerator accelerator, nint address, long bytes) : base(accelerator, bytes, 1) => NativePtr = address;

    protected override void MemSet(AcceleratorStream stream, byte value, in ArrayView<byte> targetView) =>
        throw new NotSupportedException("Memory of others is written by copies and kernels alone.");

    protected override void CopyFrom(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) =>
        Copy(stream, sourceView, targetView);

    protected override void CopyTo(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) =>
        Copy(stream, sourceView, targetView);

    protected override void DisposeAcceleratorObject(bool disposing)
    {
    }

    private static void Copy(AcceleratorStream stream, in ArrayView<byte> source, in ArrayView<byte> target)
    {
        if (stream is CudaStream cuda)
            CudaMemoryBuffer.CudaCopy(cuda, source, target);
        else if (stream is CLStream cl)
            CLMemoryBuffer.CLCopy(cl, source, target);
        else
            CPUMemoryBuffer.CPUCopy(stream, source, target);
    }
}
