namespace KernelEngine.Cli;

/// <summary>What a problem asks of a kernel.</summary>
/// <param name="Problem">The full text form.</param>
/// <param name="Bytes">What must move at the least.</param>
/// <param name="Intensity">Operations a byte.</param>
/// <param name="Roof">What the architecture's GPU allows at most.</param>
internal sealed record InspectedWork(string Problem, double Flops, double Bytes, double Intensity, InspectedRoof Roof);
