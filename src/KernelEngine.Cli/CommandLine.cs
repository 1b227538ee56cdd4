using System.CommandLine;
using KernelEngine.Cli.Commands;
using KernelEngine.Models;

namespace KernelEngine.Cli;

/// <summary>The whole command: parses arguments, runs one of its commands, and turns every failure into one line and a status.</summary>
internal static class CommandLine
{
    public static int Run(IReadOnlyList<string> arguments, Terminal terminal)
    {
        ParseResult parsed = Create(terminal).Parse(arguments);
        try
        {
            if (parsed.Errors.Count > 0)
                return Fail(terminal, $"{parsed.Errors[0].Message} See kernel-engine {CommandName(parsed)}--help.", ExitCodes.BadArguments);
            return parsed.Invoke(new InvocationConfiguration
            {
                Output = terminal.Output,
                Error = terminal.Error,
                EnableDefaultExceptionHandler = false,
            });
        }
        catch (Exception e) when (e is FormatException or ArgumentException)
        {
            return Fail(terminal, WithoutParameterName(e), ExitCodes.BadArguments);
        }
        catch (Exception e) when (e is NotSupportedException or IOException or UnauthorizedAccessException or ModelFormatException)
        {
            return Fail(terminal, e.Message, ExitCodes.Unavailable);
        }
        catch (KernelCompilationException e)
        {
            return Fail(terminal, e.Message, ExitCodes.KernelFailed);
        }
    }

    private static RootCommand Create(Terminal terminal)
    {
        var root = new RootCommand("""
            Transformer kernels: what there is, whether it is right, how fast it is, and a model that runs on it.

            Examples:
              kernel-engine run
              kernel-engine run --model stories260K.bin --prompt "Once upon a time"
              kernel-engine verify attention-forward "h=4 kv=2 q=65 k=129 d=64 causal bf16"
              kernel-engine bench attention-decode --device cpu
              kernel-engine inspect attention-forward/cuda-wgmma
              kernel-engine score --model stories260K.bin --text story.txt
              kernel-engine evict
            """)
        {
            KernelsCommand.Create(terminal),
            DevicesCommand.Create(terminal),
            VerifyCommand.Create(terminal),
            BenchCommand.Create(terminal),
            ProfileCommand.Create(terminal),
            InspectCommand.Create(terminal),
            RunCommand.Create(terminal),
            ScoreCommand.Create(terminal),
            EvictCommand.Create(terminal),
            HeadsCommand.Create(terminal),
            SpansCommand.Create(terminal),
            ConvertCommand.Create(terminal),
            PatternCommand.Create(terminal),
        };
        root.SetAction(_ => Fail(
            terminal,
            "Name a command: kernels, devices, verify, bench, profile, inspect, run, score, evict, heads, spans, convert or pattern "
                + "(or --help).",
            ExitCodes.BadArguments));
        return root;
    }

    private static string CommandName(ParseResult parsed) =>
        parsed.CommandResult.Command is RootCommand ? "" : parsed.CommandResult.Command.Name + " ";

    private static int Fail(Terminal terminal, string message, int exitCode)
    {
        terminal.Error.WriteLine($"kernel-engine: {message.ReplaceLineEndings(" ")}");
        return exitCode;
    }

    private static string WithoutParameterName(Exception e) => e is ArgumentException { ParamName: { } name }
        ? e.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)
        : e.Message;
}
