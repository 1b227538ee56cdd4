using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// What a profiler that is attached to this process collects, when it was told to wait for a range: the work of a device between
/// construction and disposal. Without effect on other devices than <c>cuda</c>, and without a profiler.
/// </summary>
public sealed class ProfiledRange : IDisposable
{
    private readonly Device _device;
    private bool _isOpen;

    /// <summary>Waits for what is queued and opens the range.</summary>
    public ProfiledRange(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        device.Synchronize();
        _isOpen = true;
        Call("cuProfilerStart");
    }

    /// <summary>Waits for what was queued and closes the range. Safe to call twice.</summary>
    public void Dispose()
    {
        if (!_isOpen)
            return;
        _isOpen = false;
        _device.Synchronize();
        Call("cuProfilerStop");
    }

    // The status tells whether a profiler listens, which is none of our business.
    private void Call(string function)
    {
        if (_device is not GpuDevice { Kind: DeviceKinds.Cuda } device)
            return;
        string library = OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";
        if (NativeLibrary.TryLoad(library, out nint handle) && NativeLibrary.TryGetExport(handle, function, out nint address))
            device.InContext(() => _ = Marshal.GetDelegateForFunctionPointer<ProfilerCall>(address)());
    }

    private delegate int ProfilerCall();
}
