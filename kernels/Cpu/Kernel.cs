namespace KernelEngine;

/// <summary>One implementation of one operation on one or more kinds of device, with a stable name.</summary>
public abstract class Kernel
{
    private protected Kernel(string name, DeviceKinds devices) => (Name, Devices) = (name, devices);

    /// <summary>The stable name: operation, slash, implementation, as in <c>attention-forward/cpu-avx512</c>.</summary>
    public string Name { get; }

    /// <summary>The kinds of device it runs on.</summary>
    public DeviceKinds Devices { get; }

    /// <summary>Null when this kernel can run on this machine at all, else a sentence that names what is missing.</summary>
    public virtual string? WhyUnavailable => null;

    /// <summary>
    /// True when intermediate results, weights of attention for one, are rounded to the storage type because tensor cores
    /// multiply nothing wider: the result may then be off by that rounding.
    /// </summary>
    public virtual bool RoundsIntermediates => false;

    /// <inheritdoc/>
    public override string ToString() => Name;
}
