using System.Globalization;
using KernelEngine.Benchmarks.Peers;
using KernelEngine.Cli.Pictures;
using ScottPlot;
using ScottPlot.Plottables;
using ScottPlot.TickGenerators;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>A picture of values against sizes, one line an implementation.</summary>
/// <param name="Title">What was measured, and where.</param>
/// <param name="Size">What the sizes are.</param>
/// <param name="Value">What the values are.</param>
internal sealed record Chart(string Title, string Size, string Value)
{
    private const int Width = 1100, Height = 640;

    /// <summary>Whether equal steps stand for equal factors of the size.</summary>
    public bool IsLogarithmic { get; init; }

    /// <summary>Writes a PNG file. Lines without points are left out.</summary>
    public void Save(string file, IEnumerable<ChartLine> lines)
    {
        PictureFonts.Choose();
        var plot = new ScottPlot.Plot();
        ChartLine[] drawn = [.. lines.Where(line => line.Points.Count > 0)];
        foreach (ChartLine line in drawn)
            Add(plot, line);
        if (IsLogarithmic)
        {
            double[] sizes = [.. drawn.SelectMany(line => line.Points).Select(point => point.Size).Distinct()];
            plot.Axes.Bottom.TickGenerator = new NumericManual(
                [.. sizes.Select(Position)], [.. sizes.Select(size => size.ToString(CultureInfo.InvariantCulture))]);
        }
        plot.Title(Title, 15);
        plot.XLabel(Size);
        plot.YLabel(Value);
        plot.Axes.SetLimitsY(0, 1.08 * drawn.SelectMany(line => line.Points).Select(point => point.Value).DefaultIfEmpty(1).Max());
        plot.ShowLegend(Edge.Right);
        plot.SavePng(file, Width, Height);
    }

    private double Position(double size) => IsLogarithmic ? Math.Log2(size) : size;

    private void Add(ScottPlot.Plot plot, ChartLine line)
    {
        Coordinates[] points = [.. line.Points.Select(point => new Coordinates(Position(point.Size), point.Value))];
        Scatter scatter = plot.Add.Scatter(points);
        scatter.LegendText = line.Name;
        bool isEngine = line.Name.StartsWith(EnginePeer.RowName, StringComparison.Ordinal);
        (scatter.LineWidth, scatter.MarkerSize) = isEngine ? (2.5f, 8) : (1.5f, 6);
        if (!line.IsRoof)
            return;
        (scatter.Color, scatter.LinePattern) = (Colors.Black, LinePattern.Dashed);
        (scatter.LineWidth, scatter.MarkerSize) = (1, 0);
    }
}
