using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>The command <c>compare</c>: measures and writes the report, after each problem anew.</summary>
internal static class CompareCommand
{
    public static int Run(ReadOnlySpan<string> args)
    {
        CompareOptions options;
        IReadOnlyList<Case> cases;
        try
        {
            options = CompareOptions.Parse(args);
            cases = options.Problem is { } text
                ? [Case.Parse(text)]
                : [.. Case.All.Where(c => options.Includes(c.OperationName))];
            foreach (Case problem in cases)
                problem.ReadProblem();
        }
        catch (FormatException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
        bool hasGeneration = options.Problem is null && options.Includes("generation");
        if (cases.Count == 0 && !hasGeneration)
        {
            Console.Error.WriteLine($"Nothing is named '{string.Join("', '", options.Only)}'.\n{CompareOptions.Usage}");
            return 2;
        }
        string file = Path.GetFullPath(options.Output ?? Path.Combine(Machine.ResultsFolder(), "compare.md"));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        var report = new Report(Machine.Describe(Machine.Command("compare", args), options.Threads), options);

        using Device device = DeviceList.Open("cpu", options.Threads);
        foreach (Case problem in cases)
        {
            Console.Error.WriteLine($"{problem.OperationName}: {problem.ProblemText}");
            using Workload workload = problem.CreateWorkload();
            report.Add(Comparison.Run(workload, device, options));
            File.WriteAllText(file, report.ToString());
        }
        if (hasGeneration)
        {
            Console.Error.WriteLine("generation");
            report.Add(RunnerComparison.Run(device, options));
            File.WriteAllText(file, report.ToString());
        }
        Console.WriteLine(file);
        return 0;
    }
}
