namespace KernelEngine.Cli;

/// <summary>What was run for a profiler.</summary>
/// <param name="Device">Where.</param>
/// <param name="Problem">The problem's full text form.</param>
/// <param name="OperandSets">How many sets of operands took turns.</param>
/// <param name="Seconds">Host time of a launch; a profiler stretches it.</param>
internal sealed record ProfileResult(Device Device, string Problem, int OperandSets, double Seconds);
