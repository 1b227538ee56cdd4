namespace KernelEngine;

/// <summary>Every device the engine knows, and how to open it.</summary>
public static class DeviceList
{
    /// <summary>The names, in the order tables show them.</summary>
    public static IReadOnlyList<string> Names { get; } =
        GpuDevices.AreIncluded ? ["reference", "cpu", "opencl", "cuda", "simulator"] : ["reference", "cpu"];

    /// <summary>Opens a device.</summary>
    /// <param name="name">reference, cpu, opencl, cuda or simulator.</param>
    /// <param name="threads">Threads of the cpu device; 0 for one a processor.</param>
    /// <exception cref="ArgumentException">No such device is known.</exception>
    /// <exception cref="NotSupportedException">This machine lacks what the device needs; the message says what.</exception>
    public static Device Open(string name, int threads = 0) => name switch
    {
        "reference" => new CpuDevice(name, DeviceKinds.Reference, 1),
        "cpu" => new CpuDevice(name, DeviceKinds.Cpu, threads > 0 ? threads : Environment.ProcessorCount),
        "opencl" when GpuDevices.AreIncluded => GpuDevices.OpenOpenCL(),
        "cuda" when GpuDevices.AreIncluded => GpuDevices.OpenCuda(),
        "simulator" when GpuDevices.AreIncluded => GpuDevices.OpenSimulator(),
        _ => throw new ArgumentException($"There is no device '{name}'. Known: {string.Join(", ", Names)}.", nameof(name)),
    };
}
