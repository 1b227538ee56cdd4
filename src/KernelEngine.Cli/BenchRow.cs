namespace KernelEngine.Cli;

/// <summary>One kernel's speed on one problem, or the reason why it was not run.</summary>
/// <param name="SpreadPercent">Slowest less fastest round, as a part of the median.</param>
/// <param name="GigabytesPerSecond">Of the bytes that must move at the least.</param>
/// <param name="RoofPercent">Time that the device's peak FMA rate and read bandwidth allow, as a part of the median.</param>
/// <param name="TimesPlain">How many times as fast as the plain computation in the same run.</param>
/// <param name="ExtraBytes">Device memory that the kernel took beyond its operands, where a device counts it.</param>
internal sealed record BenchRow(
    string Kernel, string Device, string Problem, string? WhyNotRun = null, int Rounds = 0, int RunsPerRound = 0,
    double? MedianMicroseconds = null, double? SpreadPercent = null, double? Gflops = null, double? GigabytesPerSecond = null,
    double? RoofPercent = null, double? TimesPlain = null, long? ExtraBytes = null);
