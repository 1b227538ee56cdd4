using System.Globalization;
using ScottPlot;
using ScottPlot.Plottables;
using ScottPlot.TickGenerators;

namespace KernelEngine.Cli.Pictures;

/// <summary>Pictures of what cache policies cost: quality against bytes, and what each head keeps.</summary>
internal static class EvictPictures
{
    private const int Width = 1100, Height = 640, CellPixels = 60;

    /// <summary>Draws what the rows have and returns the files.</summary>
    public static IReadOnlyList<string> Save(string folder, IReadOnlyList<EvictRow> rows)
    {
        PictureFonts.Choose();
        var files = new List<string>();
        if (rows[0].NeedleAccuracy is not null)
        {
            foreach (string kind in rows[0].NeedleAccuracy!.Keys)
                files.Add(SaveQuality(folder, $"needle, {kind}", "tokens of the needle found, %", rows, row => 100 * row.NeedleAccuracy![kind], 0, 108));
        }
        else
        {
            files.Add(SaveQuality(folder, "divergence", "KL from the full cache, nats a token", rows, row => row.Divergence ?? 0, 0, double.NaN));
            files.Add(SaveQuality(folder, "output error", "relative error of attention's outputs, %", rows, row => 100 * (row.OutputError ?? 0), 0, double.NaN));
            foreach (EvictRow row in rows.Where(row => row.Budget is not null && row.Budget == rows.Min(other => other.Budget)))
                files.Add(SaveKeptSlots(folder, row));
        }
        return files;
    }

    private static string SaveQuality(
        string folder, string name, string label, IReadOnlyList<EvictRow> rows, Func<EvictRow, double> quality, double least, double most)
    {
        var plot = new Plot();
        foreach (IGrouping<string, EvictRow> policy in rows.Skip(1).GroupBy(row => row.Policy))
        {
            Coordinates[] points = [.. policy.OrderBy(row => row.CacheBytes).Select(row => new Coordinates(row.CacheBytes / 1024, quality(row)))];
            Scatter line = plot.Add.Scatter(points);
            (line.LegendText, line.LineWidth, line.MarkerSize) = (policy.Key, 2, 7);
        }
        Scatter full = plot.Add.Scatter(new Coordinates[] { new(rows[0].CacheBytes / 1024, quality(rows[0])) });
        (full.LegendText, full.MarkerSize, full.MarkerShape, full.Color) = ("full cache", 12, MarkerShape.FilledDiamond, Colors.Black);
        plot.Title($"{char.ToUpperInvariant(name[0])}{name[1..]} against the size of the cache", 15);
        plot.XLabel("keys and values, KiB");
        plot.YLabel(label);
        double highest = double.IsNaN(most) ? 1.08 * Math.Max(1e-9, rows.Max(quality)) : most;
        // Where most heads keep everything, the bytes lie close together, far from 0.
        double fewest = rows.Min(row => row.CacheBytes / 1024), size = rows.Max(row => row.CacheBytes / 1024), left = fewest > size / 2 ? fewest : 0;
        double margin = 0.05 * (size - left);
        plot.Axes.SetLimits(left > 0 ? left - margin : 0, size + margin, least, highest);
        plot.ShowLegend(Edge.Right);
        return SavePng(plot, folder, $"quality-{name}", Width, Height);
    }

    private static string SaveKeptSlots(string folder, EvictRow row)
    {
        int layers = row.KeptSlots!.Count, heads = row.KeptSlots.Max(layer => layer.Count);
        var kept = new double[layers, heads];
        for (int l = 0; l < layers; l++)
        {
            for (int h = 0; h < heads; h++)
                kept[l, h] = h < row.KeptSlots[l].Count ? row.KeptSlots[l][h] : double.NaN;
        }
        var plot = new Plot();
        Heatmap map = plot.Add.Heatmap(kept);
        map.Colormap = new ScottPlot.Colormaps.Viridis();
        map.ManualRange = new ScottPlot.Range(0, row.KeptSlots.Max(layer => layer.Max()));
        for (int l = 0; l < layers; l++)
        {
            for (int h = 0; h < row.KeptSlots[l].Count; h++)
            {
                Text text = plot.Add.Text(row.KeptSlots[l][h].ToString(CultureInfo.InvariantCulture), h, layers - 1 - l);
                (text.Alignment, text.LabelFontColor, text.LabelFontSize) =
                    (Alignment.MiddleCenter, 2 * row.KeptSlots[l][h] > map.ManualRange.Value.Max ? Colors.Black : Colors.White, 13);
            }
        }
        plot.Title($"Tokens kept by {row.Policy}, budget {row.Budget}", 15);
        plot.XLabel("key/value head");
        plot.YLabel("layer");
        plot.Axes.Bottom.TickGenerator = new NumericManual([.. Enumerable.Range(0, heads).Select(h => (double)h)], Names(heads, h => h));
        plot.Axes.Left.TickGenerator = new NumericManual([.. Enumerable.Range(0, layers).Select(l => (double)l)], Names(layers, l => layers - 1 - l));
        plot.Add.ColorBar(map);
        return SavePng(plot, folder, $"kept-{row.Policy}", Math.Max(500, 240 + heads * CellPixels), Math.Max(360, 160 + layers * CellPixels));
    }

    private static string[] Names(int count, Func<int, int> number) =>
        [.. Enumerable.Range(0, count).Select(i => number(i).ToString(CultureInfo.InvariantCulture))];

    // The name as a file: letters, digits, points and hyphens.
    private static string SavePng(Plot plot, string folder, string name, int width, int height)
    {
        string file = Path.Combine(folder, string.Concat(name.Select(c => char.IsLetterOrDigit(c) || c == '.' ? c : '-')).Replace("--", "-", StringComparison.Ordinal) + ".png");
        plot.SavePng(file, width, height);
        return file;
    }
}
