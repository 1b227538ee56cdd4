using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KernelEngine.Native;

/// <summary>Devices: which there are, and their opening and closing.</summary>
internal static unsafe class DeviceExports
{
    [UnmanagedCallersOnly(EntryPoint = "ke_device_count")]
    public static int Count() => ForkGuard.IsInChild ? 0 : DeviceList.Names.Count;

    [UnmanagedCallersOnly(EntryPoint = "ke_device_describe")]
    public static Status Describe(int index, DeviceStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if ((uint)index >= (uint)DeviceList.Names.Count)
                throw new ArgumentOutOfRangeException(null, $"There are {DeviceList.Names.Count} devices but index is {index}.");
            using Device device = DeviceList.Open(DeviceList.Names[index], 1);
            Fill(ref Arguments.Struct(info, nameof(info)), device, device.Kind switch
            {
                DeviceKinds.Cpu => Environment.ProcessorCount,
                DeviceKinds.Reference => 1,
                _ => 0,
            });
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_open")]
    public static Status Open(byte* name, int threads, nint* device)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(device, nameof(device));
            if (threads is < 0 or > 1024)
                throw new ArgumentOutOfRangeException(null, $"threads must be 1 to 1024, or 0 for one a processor, but is {threads}.");
            Device opened = DeviceList.Open(Arguments.Text(name, nameof(name)), threads);
            *device = Handles.Devices.Add(opened);
            Log.Write(LogLevel.Information, $"opened device '{opened.Name}': {opened.Description}");
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_get_info")]
    public static Status GetInfo(nint device, DeviceStruct* info)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<Device>.Lease lease = Handles.Devices.Use(device);
            Fill(ref Arguments.Struct(info, nameof(info)), lease.Value, (lease.Value as CpuDevice)?.Threads ?? 0);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_synchronize")]
    public static Status Synchronize(nint device)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<Device>.Lease lease = Handles.Devices.Use(device);
            lease.Value.Synchronize();
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_get_context")]
    public static Status GetContext(nint device, nint* context)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Arguments.ClearHandle(context, nameof(context));
            using HandleTable<Device>.Lease lease = Handles.Devices.Use(device);
            *context = RequireGpu(lease.Value).Context;
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_use_stream")]
    public static Status UseStream(nint device, nint stream)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            using HandleTable<Device>.Lease lease = Handles.Devices.Use(device);
            RequireGpu(lease.Value).UseStream(stream);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ke_device_close")]
    public static Status Close(nint device)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            if (device != 0)
                Handles.Devices.Close(device);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }

    private static GpuDevice RequireGpu(Device device) => GpuDevices.AreIncluded && device is GpuDevice gpu ? gpu
        : throw new NotSupportedException($"Device '{device.Name}' has no driver, and so neither a context nor streams.");

    private static void Fill(ref DeviceStruct info, Device device, int threads)
    {
        info.Threads = threads;
        info.VectorBits = device.Kind != DeviceKinds.Cpu ? 0
            : Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;
        info.IsReference = device.Kind == DeviceKinds.Reference ? 1 : 0;
        fixed (byte* name = info.Name, description = info.Description)
        {
            Arguments.Write(device.Name, name, 32);
            Arguments.Write(device.Description, description, 128);
        }
    }
}
