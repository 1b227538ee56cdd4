namespace KernelEngine;

/// <summary>
/// What a profiler that is attached to this process collects, when it was told to wait for a range: the work of a device between
/// construction and disposal. Without effect on other devices than <c>cuda</c>, and without a profiler.
/// </summary>
public sealed class ProfiledRange : IDisposable
{
    /// <summary>
    /// The <see cref="AppContext"/> switch with which tensor-core kernels that are compiled from then on keep the lines of their source,
    /// for a profiler to show; their instructions are the same with them.
    /// </summary>
    public const string SourceLinesSwitch = "KernelEngine.SourceLines";

    private readonly Device _device;
    private bool _isOpen;

    /// <summary>Waits for what is queued and opens the range.</summary>
    public ProfiledRange(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        device.Synchronize();
        _isOpen = true;
        SetProfiling(true);
    }

    /// <summary>Whether the switch is on.</summary>
    internal static bool HasSourceLines => AppContext.TryGetSwitch(SourceLinesSwitch, out bool hasLines) && hasLines;

    /// <summary>Waits for what was queued and closes the range. Safe to call twice.</summary>
    public void Dispose()
    {
        if (!_isOpen)
            return;
        _isOpen = false;
        _device.Synchronize();
        SetProfiling(false);
    }

    private void SetProfiling(bool isOn)
    {
        if (_device is GpuDevice { Kind: DeviceKinds.Cuda } device)
            device.InContext(() => CudaDriver.SetProfiling(isOn));
    }
}
