using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime.CPU;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;
using KernelEngine.Tests.Gpu.Emulation;
using TensorMap = KernelEngine.Kernels.Gpu.Primitives.Ptx.TensorMap;

namespace KernelEngine.Tests.Gpu;

/// <summary>Runs a device's PTX in the emulator, on the memory of ILGPU's simulator, which runs the portable kernels beside it.</summary>
internal sealed class EmulatedExecutor : ICudaExecutor
{
    private readonly EmulatedGpu _gpu = new();
    private readonly Dictionary<CudaEntry, (PtxKernel Kernel, PtxProgram Program)> _programs = [];

    /// <summary>What the last launch executed.</summary>
    public LaunchStatistics? Statistics { get; private set; }

    /// <summary>A device of kind cuda without a GPU.</summary>
    public static GpuDevice OpenDevice(EmulatedExecutor executor)
    {
        var device = new CPUDevice(32, 4, 1);
        Context context = Context.Create(builder => builder.CPU(device).EnableAlgorithms().Optimize(OptimizationLevel.O2));
        return new GpuDevice("emulated", DeviceKinds.Cuda, context, device.CreateAccelerator(context), executor);
    }

    public void Allocated(long address, long bytes) => _gpu.Memory.Map((ulong)address, bytes);

    public void Launch(CudaEntry entry, int groups, ReadOnlySpan<byte> parameters)
    {
        if (!_programs.TryGetValue(entry, out (PtxKernel Kernel, PtxProgram Program) compiled))
        {
            PtxKernel kernel = PtxCompiler.Compile(entry);
            _programs.Add(entry, compiled = (kernel, PtxProgram.Parse(kernel.Text)));
        }
        Statistics = _gpu.Launch(compiled.Program, groups, 1, 1, compiled.Kernel.Threads, compiled.Kernel.DynamicSharedBytes, parameters);
    }

    public TensorMap EncodeTensorMap(
        long address, DataType type, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box) =>
        new() { Word0 = (long)_gpu.RegisterTensorMap((ulong)address, type.SizeInBytes(), sizes, byteStrides, box, swizzleBytes: 128) };

    public void Dispose()
    {
    }
}
