using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Plot;

/// <summary>The command <c>plot</c>: one comparison a length, drawn as a picture, with the table beside it.</summary>
internal static class PlotCommand
{
    public static int Run(ReadOnlySpan<string> args)
    {
        PlotOptions options;
        IReadOnlyList<Case> cases;
        try
        {
            options = PlotOptions.Parse(args);
            cases = [.. options.Cases];
            foreach (Case problem in cases)
                problem.Check();
        }
        catch (FormatException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
        if (Chart.WhyUnavailable() is { } reason)
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
        string title = $"{options.Problem}, {options.Compare.Threads} threads, {Machine.ProcessorName}";
        Chart.Save(file, title, options.Lengths, comparisons);
        File.WriteAllText(Path.ChangeExtension(file, ".md"), report.ToString());
        Console.WriteLine(report);
        Console.WriteLine(file);
        return 0;
    }
}
