using System.Diagnostics.CodeAnalysis;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace KernelEngine;

/// <summary>Finds the machine's GPU devices, and says exactly what is missing where there is none.</summary>
internal static class GpuDevices
{
    // One warp of each size that kernels use; more threads would only cost: the simulator starts them all.
    private const int SimulatedWarp = 32, SimulatedWarps = 4;

    /// <summary>
    /// False in a program that was trimmed or compiled ahead of time with the runtime option KernelEngine.Gpu off. Everything that names
    /// a GPU's code asks here first, so that the compiler leaves all of it out, ILGPU included.
    /// </summary>
    [FeatureSwitchDefinition("KernelEngine.Gpu")]
    public static bool AreIncluded => !AppContext.TryGetSwitch("KernelEngine.Gpu", out bool areIncluded) || areIncluded;

    /// <summary>Opens the best OpenCL device: a GPU before anything else, then the one with most compute units.</summary>
    /// <exception cref="NotSupportedException">There is none that ILGPU's code runs on.</exception>
    public static GpuDevice OpenOpenCL()
    {
        var refused = new List<string>();
        CLDevice? best = null;
        foreach (CLDevice device in CLDevice.GetDevices(_ => true).OfType<CLDevice>())
        {
            if (WhyRefused(device) is { } reason)
                refused.Add($"{device.Name.Trim()}: {reason}");
            else if (best is null || Rank(device) > Rank(best))
                best = device;
        }
        if (best is null)
            throw new NotSupportedException($"There is no OpenCL 2.0 or 3.0 device with a generic address space: {WhyNone(refused)}.");
        Context context = CreateContext(b => b.OpenCL(device => device.DeviceId == best.DeviceId));
        return Open("opencl", DeviceKinds.OpenCL, context, () => context.GetCLDevice(0).CreateAccelerator(context));
    }

    /// <summary>Opens the first CUDA device.</summary>
    /// <exception cref="NotSupportedException">There is none.</exception>
    public static GpuDevice OpenCuda()
    {
        Context context = CreateContext(b => b.Cuda());
        if (context.GetCudaDevices().Count == 0)
        {
            context.Dispose();
            throw new NotSupportedException(CudaAPI.CurrentAPI.IsSupported
                ? "There is no CUDA device: the driver is there but lists no GPU of compute capability 5.0 or higher."
                : "There is no CUDA device: the NVIDIA driver (libcuda.so.1 or nvcuda.dll) was not found.");
        }
        return Open("cuda", DeviceKinds.Cuda, context, () => context.GetCudaDevice(0).CreateAccelerator(context));
    }

    /// <summary>Opens ILGPU's simulator, with groups of at most 128 threads.</summary>
    public static GpuDevice OpenSimulator()
    {
        var device = new CPUDevice(SimulatedWarp, SimulatedWarps, 1);
        Context context = CreateContext(b => b.CPU(device));
        return Open("simulator", DeviceKinds.Simulator, context, () => device.CreateAccelerator(context));
    }

    private static Context CreateContext(Func<Context.Builder, Context.Builder> addDevices) =>
        Context.Create(builder => addDevices(builder).EnableAlgorithms().Optimize(OptimizationLevel.O2));

    private static GpuDevice Open(string name, DeviceKinds kind, Context context, Func<Accelerator> createAccelerator)
    {
        try
        {
            return new GpuDevice(name, kind, context, createAccelerator());
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    private static string? WhyRefused(CLDevice device) =>
        device.CVersion < new ILGPU.Backends.OpenCL.CLCVersion(2, 0) && device.DeviceVersion < new CLDeviceVersion(3, 0)
            ? $"it has OpenCL C {device.CVersion}"
        : !device.Capabilities.GenericAddressSpace ? "it has no generic address space"
        : null;

    private static long Rank(CLDevice device) =>
        ((device.DeviceType & CLDeviceType.CL_DEVICE_TYPE_GPU) != 0 ? 1L << 32 : 0) + device.NumMultiprocessors;

    private static string WhyNone(List<string> refused) =>
        refused.Count > 0 ? $"these devices were refused: {string.Join("; ", refused)}"
        : CLAPI.CurrentAPI.IsSupported ? "the OpenCL library is there but lists no device"
        : "the OpenCL library (libOpenCL.so or OpenCL.dll) was not found";
}
