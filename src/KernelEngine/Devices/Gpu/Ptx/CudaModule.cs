using ILGPU.Runtime.Cuda;

namespace KernelEngine;

/// <summary>A kernel in the driver, whose context must be current on every call.</summary>
internal sealed class CudaModule : IDisposable
{
    private const int MaxDynamicSharedBytes = 8; // the attribute's number
    private const int MaxStaticShared = 48 << 10;

    private readonly PtxKernel _kernel;
    private readonly IntPtr _module, _function;
    private bool _isDisposed;

    private CudaModule(PtxKernel kernel, IntPtr module, IntPtr function) => (_kernel, _module, _function) = (kernel, module, function);

    /// <summary>Hands the text to the driver, which assembles it.</summary>
    /// <param name="kernel">The text.</param>
    /// <param name="hasLines">Whether the machine code should keep the text's lines of source.</param>
    /// <exception cref="InvalidOperationException">The driver refuses it; the message holds what its assembler says.</exception>
    public static CudaModule Load(PtxKernel kernel, bool hasLines)
    {
        string? log;
        CudaError error = hasLines ? CudaDriver.LoadModuleWithLines(kernel.Text, out IntPtr module, out log)
            : CudaAPI.CurrentAPI.LoadModule(out module, kernel.Text, out log);
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
    public unsafe void Launch(int groups, ReadOnlySpan<byte> parameters, CudaStream stream)
    {
        fixed (byte* argument = parameters)
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
