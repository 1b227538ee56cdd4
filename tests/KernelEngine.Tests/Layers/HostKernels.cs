namespace KernelEngine.Tests.Layers;

/// <summary>The kernels of an operation that run in host memory here, the reference and the plain computation included.</summary>
internal static class HostKernels
{
    public static IEnumerable<Kernel<TProblem>> Of<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem> =>
        operation.Kernels.Append(operation.Plain)
            .Where(k => (k.Devices & (DeviceKinds.Cpu | DeviceKinds.Reference)) != 0 && k.WhyUnavailable is null);

    /// <summary>A device for the kernel; <c>cpu</c> has two threads.</summary>
    public static Device DeviceOf(Kernel kernel) =>
        TestDevices.Get((kernel.Devices & DeviceKinds.Reference) != 0 ? "reference" : "cpu");
}
