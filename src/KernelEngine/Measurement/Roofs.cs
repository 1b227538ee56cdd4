namespace KernelEngine;

/// <summary>Measures what a device can do at most. Takes a second or so, and up to 512 MiB of its memory.</summary>
public static class Roofs
{
    /// <summary>Measures float32 multiply-adds and read bandwidth, the best of several passes.</summary>
    /// <param name="device">The device, which should be idle.</param>
    /// <exception cref="NotSupportedException">The reference device is not there to be fast.</exception>
    public static Roof Measure(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        ObjectDisposedException.ThrowIf(device.IsDisposed, device);
        return device switch
        {
            CpuDevice { Kind: DeviceKinds.Cpu } cpu => CpuRoofs.Measure(cpu),
            GpuDevice gpu => GpuRoofs.Measure(gpu),
            _ => throw new NotSupportedException($"Device '{device.Name}' has no measured roof."),
        };
    }
}
