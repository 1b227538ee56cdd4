namespace KernelEngine.Cli;

/// <summary>What became of one comparison of a kernel with the reference.</summary>
internal enum VerifyStatus
{
    Right,

    /// <summary>It computed something else than the reference.</summary>
    Wrong,

    /// <summary>The compiler or the driver refused its code.</summary>
    NotCompiled,

    /// <summary>It was compiled, but the launch or what came before or after it failed.</summary>
    Failed,

    /// <summary>It was not begun.</summary>
    Skipped,
}
