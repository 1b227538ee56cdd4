using System.Diagnostics;
using System.Text.Json;
using KernelEngine.Cli;

namespace KernelEngine.Tests.Cli;

/// <summary>One run of the command: its status and what it wrote.</summary>
public sealed record CommandRun(int ExitCode, string Output, string Error)
{
    /// <summary>Runs it in this process.</summary>
    public static CommandRun Of(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int exitCode = CommandLine.Run(arguments, new Terminal(output, error));
        return new CommandRun(exitCode, output.ToString(), error.ToString());
    }

    /// <summary>Runs it in a process of its own, which has an environment variable more.</summary>
    public static CommandRun InChild(string variable, string value, params string[] arguments)
    {
        string command = Path.Combine(AppContext.BaseDirectory, "kernel-engine.dll");
        string dotnet = Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet";
        var start = new ProcessStartInfo(dotnet, [command, .. arguments])
        {
            Environment = { [variable] = value },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new CommandRun(process.ExitCode, output, error.Result);
    }

    public JsonElement Json
    {
        get
        {
            using JsonDocument document = JsonDocument.Parse(Output);
            return document.RootElement.Clone();
        }
    }
}
