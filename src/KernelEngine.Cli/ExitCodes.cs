namespace KernelEngine.Cli;

/// <summary>What the command's exit status says.</summary>
internal static class ExitCodes
{
    public const int Success = 0;

    /// <summary>A kernel or a model computed something else than the reference.</summary>
    public const int WrongResult = 1;

    public const int BadArguments = 2;

    /// <summary>A device or a file that is needed is missing or broken.</summary>
    public const int Unavailable = 3;

    /// <summary>A kernel could not be compiled, or its launch failed, so that it computed nothing.</summary>
    public const int KernelFailed = 4;
}
