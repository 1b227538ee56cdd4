using ScottPlot;
using ScottPlot.Plottables;

namespace KernelEngine.Cli.Pictures;

/// <summary>A picture of an attention pattern: a panel for each head, query rows downwards, keys to the right, dark where a row sees.</summary>
internal static class PatternPicture
{
    private const int MaxCells = 512, PanelWidth = 420, PanelHeight = 450, PanelsInARow = 4;

    public static void Save(string file, string name, AttentionPattern pattern)
    {
        PictureFonts.Choose();
        int heads = pattern.Shape.NumHeads, columns = Math.Min(heads, PanelsInARow), rows = (heads + columns - 1) / columns;
        var panels = new Multiplot();
        panels.AddPlots(heads);
        panels.Layout = new ScottPlot.MultiplotLayouts.Grid(rows, columns);
        for (int h = 0; h < heads; h++)
            Draw(panels.GetPlot(h), pattern, h, heads > 1 ? $"{name}, head {h}" : name);
        panels.SavePng(file, columns * PanelWidth, rows * PanelHeight);
    }

    private static void Draw(Plot plot, AttentionPattern pattern, int head, string title)
    {
        Heatmap map = plot.Add.Heatmap(Shares(pattern, head));
        map.Colormap = new ScottPlot.Colormaps.Blues().Reversed();
        map.ManualRange = new ScottPlot.Range(0, 1);
        map.FlipVertically = true; // the axis runs downwards, as the rows do
        map.Extent = new CoordinateRect(0, pattern.Shape.Keys, pattern.Shape.Rows, 0);
        plot.Title(title, 15);
        plot.XLabel("key");
        plot.YLabel("query row");
        plot.Axes.SetLimits(0, pattern.Shape.Keys, pattern.Shape.Rows, 0);
        plot.HideGrid();
    }

    // The share of each cell's pairs that the pattern has.
    private static double[,] Shares(AttentionPattern pattern, int head)
    {
        int rows = Math.Min(MaxCells, pattern.Shape.Rows), columns = Math.Min(MaxCells, pattern.Shape.Keys);
        double rowScale = (double)rows / pattern.Shape.Rows, keyScale = (double)columns / pattern.Shape.Keys;
        var shares = new double[rows, columns];
        for (int row = 0; row < pattern.Shape.Rows; row++)
        {
            int cellRow = Math.Min(rows - 1, (int)(row * rowScale));
            foreach ((int first, int end) in pattern.RunsOf(0, head, row))
            {
                for (int cell = (int)(first * keyScale); cell < columns && cell < end * keyScale; cell++)
                    shares[cellRow, cell] += rowScale * Math.Min(1, Math.Min(cell + 1, end * keyScale) - Math.Max(cell, first * keyScale));
            }
        }
        return shares;
    }
}
