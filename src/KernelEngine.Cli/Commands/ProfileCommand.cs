using System.CommandLine;
using System.Globalization;

namespace KernelEngine.Cli.Commands;

/// <summary><c>profile</c>: one kernel on one problem, for a profiler to look at.</summary>
internal static class ProfileCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string> kernel = new("kernel") { Description = "The kernel; `kernel-engine kernels` lists them." };
        Argument<string> problem = new("problem") { Description = "The problem's text form in quotes." };
        Option<string?> device = Arguments.Device("The device; without it the first here that the kernel runs on, cuda before others");
        Option<int> iterations = Arguments.Number("--iterations", 5, 1, 1000, "Launches that a profiler sees.");
        Option<int> warmUp = Arguments.Number("--warm-up", 3, 0, 1000, "Launches before those.");
        Option<int> threads = Arguments.Threads();
        var command = new Command("profile", """
            Run one kernel on one problem and nothing else, and print the commands that look at it with NVIDIA's profilers.

            The launches to look at lie between cuProfilerStart and cuProfilerStop; warm-up comes before. Operands take turns, so
            that inputs do not come from a cache.

            Examples:
              kernel-engine profile attention-forward/ilgpu-tiled "b=4 h=16 q=4096 k=4096 d=128 causal bf16"
              kernel-engine profile linear/cpu-avx2 "m=64 n=4096 k=4096" --iterations 50
            """)
        { kernel, problem, device, iterations, warmUp, threads };
        command.SetAction(parsed =>
        {
            AppContext.SetSwitch(ProfiledRange.SourceLinesSwitch, true);
            using var devices = new OpenDevices(parsed.GetValue(threads));
            var request = new ProfileRequest(
                parsed.GetValue(kernel)!, parsed.GetValue(problem)!, parsed.GetValue(device), parsed.GetValue(iterations), parsed.GetValue(warmUp));
            Operation operation = OperationList.FindKernel(request.Kernel).Operation;
            ProfileResult result = operation.Accept(new ProfileRun(request, devices));
            Write(terminal.Output, request, result);
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Write(TextWriter output, ProfileRequest request, ProfileResult result)
    {
        string file = request.Kernel.Replace('/', '-');
        string program = Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "kernel-engine" ? path : "kernel-engine";
        string rest = $"profile {request.Kernel} \"{result.Problem}\" --device {result.Device.Name} --iterations {request.Iterations} --warm-up {request.WarmUp}";
        output.WriteLine($"{request.Kernel} on {result.Device.Name} ({result.Device.Description}): {result.Problem}");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{request.Iterations} launches: {result.Seconds * 1e6:0.0} µs each, {result.OperandSets} sets of operands in turn"));
        output.WriteLine($"ncu --profile-from-start off --clock-control none --set full --import-source yes -f -o {file} {program} {rest}");
        output.WriteLine($"nsys profile --capture-range=cudaProfilerApi --capture-range-end=stop --trace=cuda,nvtx -f true -o {file} {program} {rest}");
    }
}
