using System.Text.Json;
using KernelEngine.Cli;

namespace KernelEngine.Tests.Cli;

/// <summary>One run of the command in this process: its status and what it wrote.</summary>
public sealed record CommandRun(int ExitCode, string Output, string Error)
{
    public static CommandRun Of(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int exitCode = CommandLine.Run(arguments, new Terminal(output, error));
        return new CommandRun(exitCode, output.ToString(), error.ToString());
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
