using System.Text;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Memory;
using KernelEngine.Benchmarks.Peers;
using KernelEngine.Cli.Pictures;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>
/// The command <c>plot</c>: one comparison a size, drawn as a picture, with the table beside it. Lengths of attention give rates;
/// other sizes give times and, in a second picture, memory.
/// </summary>
internal static class PlotCommand
{
    private const double Milliseconds = 1e3, Giga = 1e9, Mebibyte = 1 << 20;

    public static int Run(ReadOnlySpan<string> args)
    {
        PlotOptions options;
        IReadOnlyList<Case> cases;
        try
        {
            options = PlotOptions.Parse(args);
            cases = [.. options.Cases];
            foreach (Case problem in cases)
                problem.ReadProblem();
        }
        catch (FormatException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
        if (PictureFonts.WhyUnavailable() is { } reason)
        {
            Console.Error.WriteLine($"No picture can be drawn: {reason}.");
            return 1;
        }
        string file = Path.GetFullPath(
            options.Compare.Output ?? Path.Combine(Machine.ResultsFolder(), Machine.ToSlug(options.Problem) + ".png"));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        var report = new Report(Machine.Describe(Machine.Command("plot", args), options.Compare.Threads), options.Compare);

        var comparisons = new List<Comparison>();
        using (Device device = DeviceList.Open("cpu", options.Compare.Threads))
        {
            foreach (Case problem in cases)
            {
                Console.Error.WriteLine($"{problem.OperationName}: {problem.ProblemText}");
                using Workload workload = problem.CreateWorkload();
                comparisons.Add(Comparison.Run(workload, device, options.Compare));
                report.Add(comparisons[^1]);
            }
        }
        string title = $"{options.Problem}, {options.Compare.Threads} threads, {Machine.ProcessorName}", text = report.ToString();
        if (options.SizeName is null)
        {
            DrawRates(file, title, options.Sizes, comparisons);
        }
        else
        {
            DrawTimes(file, title, options, comparisons);
            text += DrawMemory(file, title, options, cases);
        }
        File.WriteAllText(Path.ChangeExtension(file, ".md"), text);
        Console.WriteLine(text);
        Console.WriteLine(file);
        return 0;
    }

    private static void DrawRates(string file, string title, IReadOnlyList<int> lengths, List<Comparison> comparisons)
    {
        var roof = new ChartLine(
            "multiply-adds from registers, f32",
            [.. lengths.Zip(comparisons, (length, c) => ((double)length, Spread.Of(c.Roofs.Select(r => r.Gflops)).Median))], IsRoof: true);
        new Chart(title, "length, tokens", "GFLOP/s, median of the rounds") { IsLogarithmic = true }.Save(
            file, [.. Lines(lengths, comparisons, (c, row) => (row.Problem ?? c.Problem).Flops / row.Median / Giga), roof]);
    }

    // The plain computation would leave the others no room on a linear axis.
    private static void DrawTimes(string file, string title, PlotOptions options, List<Comparison> comparisons) =>
        new Chart(title, options.SizeName!, "ms, median of the rounds").Save(
            file, Lines(options.Sizes, comparisons, (_, row) => row.Median * Milliseconds).Where(line => line.Name != NaivePeer.RowName));

    // Returns the table.
    private static string DrawMemory(string file, string title, PlotOptions options, IReadOnlyList<Case> cases)
    {
        var rows = new List<MemoryRow>();
        foreach (Case problem in cases)
        {
            string text = $"{problem.OperationName} {problem.ProblemText}";
            Console.Error.WriteLine($"memory: {text}");
            rows.AddRange(MemoryChild.PeersOf(problem).Select(peer => MemoryChild.Measure(text, peer, options.Compare.Threads)));
        }
        IEnumerable<ChartLine> lines = MemoryChild.PeersOf(cases[0]).Select(peer => new ChartLine(peer, [.. options.Sizes
            .Zip(rows.Where(row => row.Name == peer), (size, row) => ((double)size, row.Beyond))
            .Where(point => point.Beyond is not null)
            .Select(point => (point.Item1, point.Beyond!.Value / Mebibyte))]));
        string picture = Path.Combine(Path.GetDirectoryName(file)!, Path.GetFileNameWithoutExtension(file) + "-memory.png");
        new Chart(title, options.SizeName!, "MiB beyond operands and results, greatest in a call").Save(picture, lines);
        Console.WriteLine(picture);
        var table = new StringBuilder("\n## Memory\n\n").Append(MemoryTable.Explanation).Append('\n');
        MemoryTable.Append(table, rows);
        return table.ToString();
    }

    // Each implementation where it ran with the right result.
    private static IEnumerable<ChartLine> Lines(
        IReadOnlyList<int> sizes, List<Comparison> comparisons, Func<Comparison, Row, double> value) =>
        comparisons.SelectMany(c => c.Rows).Select(row => row.Name).Distinct().Select(name => new ChartLine(name, [.. sizes
            .Zip(comparisons)
            .Select(pair => (Size: pair.First, Comparison: pair.Second, Row: pair.Second.Rows.Find(row => row.Name == name)))
            .Where(point => point.Row is { Seconds.Count: > 0, IsSameResult: true })
            .Select(point => ((double)point.Size, value(point.Comparison, point.Row!)))]));
}
