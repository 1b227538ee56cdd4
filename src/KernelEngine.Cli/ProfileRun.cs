using System.Diagnostics;

namespace KernelEngine.Cli;

/// <summary>
/// One kernel on one problem and nothing else: some launches that a profiler does not see, then some that it does, one set of
/// operands after the other so that no launch finds its inputs in a cache.
/// </summary>
internal sealed class ProfileRun(ProfileRequest request, OpenDevices devices) : IOperationVisitor<ProfileResult>
{
    // Where a profiler is most wanted.
    private static readonly string[] s_preference = ["cuda", "opencl", "cpu", "reference", "simulator"];

    public ProfileResult Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
    {
        var problem = ProblemText.Parse<TProblem>(request.Problem);
        Kernel<TProblem> kernel = operation.Kernels.First(k => k.Name == request.Kernel);
        Device device = FindDevice(kernel);
        int count = OperandSet.CountForColdCache(problem, request.Iterations);
        var sets = new List<OperandSet>();
        try
        {
            for (int i = 0; i < count; i++)
                sets.Add(new OperandSet(device, problem));
            // At the least one, which compiles.
            for (int i = 0; i < Math.Max(1, request.WarmUp); i++)
                device.Run(operation, problem, sets[^1].Views, kernel);
            using var range = new ProfiledRange(device);
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < request.Iterations; i++)
                device.Run(operation, problem, sets[i % count].Views, kernel);
            device.Synchronize();
            return new ProfileResult(device, problem.ToText(), count, Stopwatch.GetElapsedTime(start).TotalSeconds / request.Iterations);
        }
        finally
        {
            sets.ForEach(s => s.Dispose());
        }
    }

    private Device FindDevice(Kernel kernel)
    {
        if (request.Device is { } name)
            return devices.Get(name);
        string[] names = [.. s_preference.Where(Arguments.DeviceNames(kernel.Devices).Contains)];
        return devices.Get(names.FirstOrDefault(n => devices.TryGet(n).Device is not null) ?? names[0]);
    }
}
