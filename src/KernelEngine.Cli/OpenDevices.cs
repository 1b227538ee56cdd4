namespace KernelEngine.Cli;

/// <summary>The devices a command uses, each opened when it is first asked for and closed with this.</summary>
internal sealed class OpenDevices(int threads) : IDisposable
{
    private readonly Dictionary<string, (Device? Device, string? Reason)> _opened = new(StringComparer.Ordinal);

    /// <summary>The device, or null and the reason why this machine has none.</summary>
    public (Device? Device, string? Reason) TryGet(string name)
    {
        if (!_opened.TryGetValue(name, out (Device? Device, string? Reason) entry))
            _opened.Add(name, entry = Open(name));
        return entry;
    }

    /// <summary>The device.</summary>
    /// <exception cref="NotSupportedException">This machine has none.</exception>
    public Device Get(string name)
    {
        (Device? device, string? reason) = TryGet(name);
        return device ?? throw new NotSupportedException(reason);
    }

    /// <summary>Closes the device after a failure; whoever asks next gets a fresh one.</summary>
    public void Drop(string name)
    {
        if (_opened.Remove(name, out (Device? Device, string? Reason) entry) && entry.Device is { } device)
            Close(device);
    }

    public void Dispose()
    {
        foreach ((Device? device, _) in _opened.Values)
        {
            if (device is not null)
                Close(device);
        }
    }

    // A driver that lost its device refuses to give the memory back too. What it said first has been told.
    private static void Close(Device device)
    {
        try
        {
            device.Dispose();
        }
        catch (Exception e) when (device is GpuDevice && e is not NotSupportedException)
        {
        }
    }

    private (Device? Device, string? Reason) Open(string name)
    {
        try
        {
            return (DeviceList.Open(name, threads), null);
        }
        catch (NotSupportedException e)
        {
            return (null, e.Message);
        }
    }
}
