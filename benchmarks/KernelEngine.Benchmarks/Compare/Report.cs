using System.Globalization;
using System.Text;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>Writes comparisons as Markdown.</summary>
internal sealed class Report
{
    private readonly StringBuilder _text = new();

    public Report(string header, CompareOptions options)
    {
        Line("# Comparison with peers");
        Line();
        Line(header);
        Line();
        Line(string.Create(CultureInfo.InvariantCulture,
            $"{options.Rounds} interleaved rounds in one process: each measures the roofs and then every implementation once, "
            + $"for at least {options.SampleSeconds * 1000:F0} ms."));
        Line("Times are medians over the rounds with least and greatest; percentages and ratios are medians of the quotients");
        Line("within a round. The ratio is the best peer's time divided by the row's: above 1 is faster than every peer.");
        Line("GFLOP/s counts the operations of the definition (causal: the visible half), GB/s each input and output once.");
    }

    public void Add(Comparison comparison)
    {
        Line();
        Line($"## {comparison.OperationName}: {comparison.Label}");
        Line();
        Line(Describe(comparison.Roofs));
        Line();
        Line("| operation | problem | implementation | median ms | min – max ms | GFLOP/s | GB/s "
            + "| % of FMA roof | % of read roof | ratio to best peer | max abs difference | note |");
        Line("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
        foreach (Row row in comparison.Rows)
            Line(Format(comparison, row));
        AddWindow(comparison);
        AddFilter(comparison);
        foreach (string sentence in comparison.Explanation)
        {
            Line();
            Line(sentence);
        }
    }

    public void Add(RunnerComparison comparison)
    {
        Line();
        Line($"## generation: {RunnerComparison.Shape}");
        Line();
        Line(Describe(comparison.Roofs));
        Line();
        foreach (string line in RunnerComparison.Explanation)
            Line(line);
        Line();
        Line("| task | weights | implementation | median ms | min – max ms | tokens/s | GFLOP/s "
            + "| GB/s of weights | % of FMA roof | % of read roof |");
        Line("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (RunnerTask task in comparison.Tasks)
        {
            Spread time = Spread.Of(task.Row.Seconds);
            double fma = Quotient(task.Row.Seconds, comparison.Roofs, (s, roof) => task.Flops / s / 1e9 / roof.Gflops);
            double read = Quotient(task.Row.Seconds, comparison.Roofs,
                (s, roof) => task.WeightBytes / s / roof.ReadBytesPerSecond);
            Line($"| {task.Name} | {task.Type.ToText()} | KernelEngine | {Number(time.Median * 1e3)} | {Range(time, 1e3)} "
                + $"| {Number(task.Tokens / time.Median)} | {Number(task.Flops / time.Median / 1e9)} "
                + $"| {Number(task.WeightBytes / time.Median / 1e9)} | {Percent(fma)} | {Percent(read)} |");
        }
    }

    public override string ToString() => _text.ToString();

    // What a window leaves of the work, beside what it leaves of the time.
    private void AddWindow(Comparison comparison)
    {
        if (comparison.Rows.Find(row => !row.IsSameProblem) is not { Seconds.Count: > 0, Problem: AttentionProblem dense } other
            || comparison.Problem is not AttentionProblem windowed)
            return;
        Spread time = Spread.Of(comparison.Rows[0].Seconds.Zip(other.Seconds, (own, without) => own / without));
        int window = windowed.WindowLeft + 1;
        Line();
        Line($"Time with the window / without: {Number(time.Median)} ({Range(time, 1)}). Window / length: {window} / "
            + $"{windowed.KvLength} = {Number((double)window / windowed.KvLength)}; pairs of a row and a visible key with it / "
            + $"without: {Number(windowed.VisiblePairs / dense.VisiblePairs)}.");
    }

    // What a filter of the gradients leaves of the time.
    private void AddFilter(Comparison comparison)
    {
        if (comparison.Problem is not CrossEntropyBackwardProblem
            || comparison.Rows.Find(row => !row.IsSameProblem) is not { Seconds.Count: > 0 } filtered)
            return;
        Spread time = Spread.Of(filtered.Seconds.Zip(comparison.Rows[0].Seconds, (with, without) => with / without));
        string peer = "";
        if (comparison.BestPeer is { } best)
        {
            Spread ratio = Spread.Of(best.Seconds.Zip(filtered.Seconds, (without, with) => without / with));
            peer = $" The best peer's time, without a filter, / with it: {Number(ratio.Median)} ({Range(ratio, 1)}).";
        }
        Line();
        Line($"Time with the filter / without: {Number(time.Median)} ({Range(time, 1)}).{peer}");
    }

    private static string Format(Comparison comparison, Row row)
    {
        string start = $"| {comparison.OperationName} | {comparison.Label} | {row.Name} ";
        if (row.Seconds.Count == 0)
            return start + $"| – | – | – | – | – | – | – | – | {Escape(row.Note)} |";
        IProblem problem = row.Problem ?? comparison.Problem;
        Spread time = Spread.Of(row.Seconds);
        double fma = Quotient(row.Seconds, comparison.Roofs, (s, roof) => problem.Flops / s / 1e9 / roof.Gflops);
        double read = Quotient(row.Seconds, comparison.Roofs, (s, roof) => problem.Bytes / s / roof.ReadBytesPerSecond);
        string ratio = row.IsSameProblem && comparison.BestPeer is { } best
            ? Number(Spread.Of(best.Seconds.Zip(row.Seconds, (peer, own) => peer / own)).Median)
                + (best == row ? " (best peer)" : "")
            : "–";
        string error = row.Error is { } e
            ? $"{e.Difference.ToString("0.0e+0", CultureInfo.InvariantCulture)} of {Number(e.Scale)}"
            : "–";
        string note = row.IsSameResult ? row.Note : "**another result: not compared**; " + row.Note;
        return start + $"| {Number(time.Median * 1e3)} | {Range(time, 1e3)} | {Number(problem.Flops / time.Median / 1e9)} "
            + $"| {Number(problem.Bytes / time.Median / 1e9)} | {Percent(fma)} | {Percent(read)} "
            + $"| {ratio} | {error} | {Escape(note)} |";
    }

    private static string Describe(List<Roof> roofs)
    {
        Spread fma = Spread.Of(roofs.Select(r => r.Gflops)), read = Spread.Of(roofs.Select(r => r.ReadBytesPerSecond / 1e9));
        return $"Roofs of these rounds: FMA {Number(fma.Median)} GFLOP/s ({Range(fma, 1)}), "
            + $"memory read {Number(read.Median)} GB/s ({Range(read, 1)}).";
    }

    private static double Quotient(List<double> seconds, List<Roof> roofs, Func<double, Roof, double> divide) =>
        Spread.Of(seconds.Zip(roofs, divide)).Median;

    private static string Number(double value) => value switch
    {
        0 => "0",
        >= 100 => value.ToString("F0", CultureInfo.InvariantCulture),
        >= 10 => value.ToString("F1", CultureInfo.InvariantCulture),
        >= 0.1 => value.ToString("F2", CultureInfo.InvariantCulture),
        _ => value.ToString("G2", CultureInfo.InvariantCulture),
    };

    private static string Range(Spread spread, double factor) => $"{Number(spread.Min * factor)} – {Number(spread.Max * factor)}";

    private static string Percent(double share) => share.ToString("0%", CultureInfo.InvariantCulture);

    private static string Escape(string text) => text.Replace("|", "\\|", StringComparison.Ordinal);

    private void Line(string text = "") => _text.Append(text).Append('\n');
}
