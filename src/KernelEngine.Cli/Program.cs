using KernelEngine.Cli;

return CommandLine.Run(args, new Terminal(
    Console.Out, Console.Error,
    hasInteractiveOutput: !Console.IsOutputRedirected, hasInteractiveError: !Console.IsErrorRedirected));
