using System.Globalization;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Peers;
using ScottPlot;
using ScottPlot.Plottables;
using ScottPlot.TickGenerators;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>GFLOP/s against length: one line an implementation, and the roof of multiply-adds.</summary>
internal static class Chart
{
    private const int Width = 1100, Height = 640;

    /// <summary>Null when there are letters to write with, else why not.</summary>
    public static string? WhyUnavailable()
    {
        try
        {
            return SkiaSharp.SKFontManager.Default.FontFamilyCount > 0 ? null : "this system has no fonts";
        }
#pragma warning disable CA1031 // whatever keeps the library from loading is what the user reads
        catch (Exception e)
#pragma warning restore CA1031
        {
            return "the graphics library does not load: " + (e.InnerException ?? e).Message.Split('\n')[0];
        }
    }

    /// <param name="file">A PNG file, written.</param>
    /// <param name="title">What was measured, and where.</param>
    /// <param name="lengths">Tokens.</param>
    /// <param name="comparisons">The measurement of each length.</param>
    public static void Save(string file, string title, IReadOnlyList<int> lengths, IReadOnlyList<Comparison> comparisons)
    {
        HashSet<string> installed = [.. SkiaSharp.SKFontManager.Default.FontFamilies];
        if (Array.Find(["DejaVu Sans", "Liberation Sans", "Arial"], installed.Contains) is { } font)
            Fonts.Default = font;
        var plot = new ScottPlot.Plot();
        // Lengths double: equal steps for equal factors.
        double[] positions = [.. lengths.Select(length => Math.Log2(length))];
        foreach (string name in comparisons.SelectMany(c => c.Rows).Select(row => row.Name).Distinct())
            AddLine(plot, name, positions, comparisons);
        Scatter roof = plot.Add.ScatterLine(
            positions, [.. comparisons.Select(c => Spread.Of(c.Roofs.Select(r => r.Gflops)).Median)], Colors.Black);
        roof.LegendText = "multiply-adds from registers, f32";
        roof.LinePattern = LinePattern.Dashed;
        plot.Axes.Bottom.TickGenerator = new NumericManual(
            positions, [.. lengths.Select(length => length.ToString(CultureInfo.InvariantCulture))]);
        plot.Title(title, 15);
        plot.XLabel("length, tokens");
        plot.YLabel("GFLOP/s, median of the rounds");
        plot.Axes.SetLimitsY(0, 1.08 * comparisons.Max(Highest));
        plot.ShowLegend(Edge.Right);
        plot.SavePng(file, Width, Height);
    }

    private static void AddLine(
        ScottPlot.Plot plot, string name, double[] positions, IReadOnlyList<Comparison> comparisons)
    {
        var points = new List<Coordinates>();
        foreach ((double position, Comparison comparison) in positions.Zip(comparisons))
        {
            if (comparison.Rows.Find(row => row.Name == name) is { Seconds.Count: > 0, IsSameResult: true } row)
                points.Add(new Coordinates(position, Gflops(comparison, row)));
        }
        if (points.Count == 0)
            return;
        Scatter line = plot.Add.Scatter(points);
        line.LegendText = name;
        bool isEngine = name.StartsWith(EnginePeer.RowName, StringComparison.Ordinal);
        (line.LineWidth, line.MarkerSize) = isEngine ? (2.5f, 8) : (1.5f, 6);
    }

    private static double Highest(Comparison comparison) => Math.Max(
        Spread.Of(comparison.Roofs.Select(roof => roof.Gflops)).Median,
        comparison.Rows.Where(row => row.Seconds.Count > 0).Max(row => Gflops(comparison, row)));

    private static double Gflops(Comparison comparison, Row row) =>
        (row.Problem ?? comparison.Problem).Flops / row.Median / 1e9;
}
