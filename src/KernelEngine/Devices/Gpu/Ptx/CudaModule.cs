using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace KernelEngine;

/// <summary>A kernel in the driver. The accelerator must be bound on every call, by <see cref="Bind"/>.</summary>
internal sealed class CudaModule : IDisposable
{
    private const int MaxDynamicSharedBytes = 8; // the attribute's number
    private const int MaxStaticShared = 48 << 10;

    private readonly PtxKernel _kernel;
    private readonly IntPtr _module, _function;
    private bool _isDisposed;

    private CudaModule(PtxKernel kernel, IntPtr module, IntPtr function) => (_kernel, _module, _function) = (kernel, module, function);

    /// <summary>
    /// Makes the accelerator's context the thread's. ILGPU takes it for bound where it bound it before, though the driver's own
    /// notion may have changed since: it did when another context of ILGPU had compiled in between.
    /// </summary>
    /// <exception cref="InvalidOperationException">The driver refuses.</exception>
    public static ScopedAcceleratorBinding Bind(Accelerator accelerator)
    {
        ScopedAcceleratorBinding binding = accelerator.BindScoped();
        CudaError error = CudaAPI.CurrentAPI.SetCurrentContext(accelerator.NativePtr);
        return error == CudaError.CUDA_SUCCESS ? binding : throw new InvalidOperationException($"The driver does not make its context current: {error}.");
    }

    /// <summary>Hands the text to the driver, which assembles it.</summary>
    /// <exception cref="InvalidOperationException">The driver refuses it; the message holds what its assembler says.</exception>
    public static CudaModule Load(PtxKernel kernel)
    {
        CudaError error = CudaAPI.CurrentAPI.LoadModule(out IntPtr module, kernel.Text, out string? log);
        if (error != CudaError.CUDA_SUCCESS)
            throw new InvalidOperationException($"The driver does not load {kernel.EntryName}: {error}. {log}");
        error = CudaAPI.CurrentAPI.GetModuleFunction(out IntPtr function, module, kernel.EntryName);
        if (error == CudaError.CUDA_SUCCESS && kernel.DynamicSharedBytes > MaxStaticShared)
            error = CudaDriver.SetFunctionAttribute(function, MaxDynamicSharedBytes, kernel.DynamicSharedBytes);
        if (error == CudaError.CUDA_SUCCESS)
            return new CudaModule(kernel, module, function);
        _ = CudaAPI.CurrentAPI.DestroyModule(module);
        throw new InvalidOperationException($"The driver does not prepare {kernel.EntryName}: {error}.");
    }

    /// <summary>Queues a launch.</summary>
    public unsafe void Launch<TParameters>(int groups, in TParameters parameters, CudaStream stream) where TParameters : unmanaged
    {
        fixed (TParameters* argument = &parameters)
        {
            void* arguments = argument;
            CudaError error = CudaAPI.CurrentAPI.LaunchKernel(
                _function, groups, 1, 1, _kernel.Threads, 1, 1, _kernel.DynamicSharedBytes, stream.StreamPtr, (IntPtr)(&arguments), IntPtr.Zero);
            if (error != CudaError.CUDA_SUCCESS)
                throw new InvalidOperationException($"{_kernel.EntryName} could not be launched: {error}.");
        }
    }

    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        _ = CudaAPI.CurrentAPI.DestroyModule(_module);
    }
}
