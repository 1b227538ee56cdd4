using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>Runs PTX through the driver, in the accelerator's context, on its default stream unless told another.</summary>
internal sealed class CudaExecutor(CudaAccelerator accelerator) : ICudaExecutor
{
    private readonly Dictionary<CudaEntry, CudaModule> _modules = [];

    /// <summary>Where launches are queued.</summary>
    public CudaStream Stream { get; set; } = (CudaStream)accelerator.DefaultStream;

    public void Allocated(long address, long bytes)
    {
    }

    public void Launch(CudaEntry entry, int groups, ReadOnlySpan<byte> parameters)
    {
        if (!_modules.TryGetValue(entry, out CudaModule? module))
            _modules.Add(entry, module = Load(entry));
        using var binding = Bind();
        module.Launch(groups, parameters, Stream);
    }

    public TensorMap EncodeTensorMap(
        long address, DataType type, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box)
    {
        using var binding = Bind();
        return CudaDriver.EncodeTensorMap(address, type, sizes, byteStrides, box);
    }

    public void Dispose()
    {
        using var binding = Bind();
        foreach (CudaModule module in _modules.Values)
            module.Dispose();
        _modules.Clear();
    }

    private CudaModule Load(CudaEntry entry)
    {
        try
        {
            bool hasLines = ProfiledRange.HasSourceLines;
            PtxKernel kernel = hasLines ? PtxCompiler.Compile(entry, hasLines) : PtxCache.Default.Get(entry, PtxCompiler.Compile);
            using var binding = Bind();
            return CudaModule.Load(kernel, hasLines);
        }
        catch (Exception e)
        {
            throw new KernelCompilationException($"Could not compile {entry}: {e.GetBaseException().Message}", e);
        }
    }

    // ILGPU takes its context for bound where it bound it before, though the driver's own notion may have changed since: it did
    // when another context of ILGPU had compiled in between.
    private ScopedAcceleratorBinding Bind()
    {
        ScopedAcceleratorBinding binding = accelerator.BindScoped();
        CudaError error = CudaAPI.CurrentAPI.SetCurrentContext(accelerator.NativePtr);
        return error == CudaError.CUDA_SUCCESS ? binding : throw new InvalidOperationException($"The driver does not make its context current: {error}.");
    }
}
