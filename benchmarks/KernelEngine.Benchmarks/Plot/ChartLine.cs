namespace KernelEngine.Benchmarks.Plot;

/// <summary>One line of a picture.</summary>
/// <param name="Name">Its name in the legend.</param>
/// <param name="Points">Sizes with the values measured there, ascending.</param>
/// <param name="IsRoof">Whether it is a limit rather than an implementation.</param>
internal sealed record ChartLine(string Name, IReadOnlyList<(double Size, double Value)> Points, bool IsRoof = false);
