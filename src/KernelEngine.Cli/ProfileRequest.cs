namespace KernelEngine.Cli;

/// <summary>What <c>profile</c> is asked for.</summary>
/// <param name="Device">Null for the kernel's own first choice.</param>
/// <param name="Iterations">Launches that a profiler sees.</param>
/// <param name="WarmUp">Launches before, for compilers, caches and clocks.</param>
internal sealed record ProfileRequest(string Kernel, string Problem, string? Device, int Iterations, int WarmUp);
