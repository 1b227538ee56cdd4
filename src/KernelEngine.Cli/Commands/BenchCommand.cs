using System.CommandLine;
using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>bench</c>: throughput of an operation's kernels beside the plain computation and the device's own roof.</summary>
internal static class BenchCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string> operation = new("operation")
        {
            Description = "What to compute, or an area (attention, cross-entropy) for all its operations that have the problem; "
                + "`kernel-engine kernels` lists them.",
        };
        Argument<string[]> problems = new("problem") { Arity = ArgumentArity.ZeroOrMore, Description = "Problems in quotes; nothing for the operation's own." };
        Option<string?> device = Arguments.Device("Only this device; without it every device here but reference and simulator");
        Option<string?> kernel = new("--kernel") { Description = "Only this kernel, or those whose names contain this, without the plain computation beside them." };
        Option<int> rounds = Arguments.Number("--rounds", 7, 1, 1000, "Interleaved rounds, of which the median counts.");
        Option<bool> noRoof = new("--no-roof") { Description = "Do not measure the device's roof, which takes a second or more." };
        Option<int> threads = Arguments.Threads();
        Option<bool> json = Arguments.Json();
        var command = new Command("bench", """
            Throughput of an operation's kernels, beside the plain computation and the roof that the device itself reached.

            Examples:
              kernel-engine bench linear --device cpu
              kernel-engine bench cross-entropy "n=1024 v=49152 d=576"
              kernel-engine bench attention-decode "h=32 kv=8 q=1 k=8192 d=128 bf16" --threads 1 --json
            """)
        { operation, problems, device, kernel, rounds, noRoof, threads, json };
        command.SetAction(parsed =>
        {
            // Every argument is checked before the first second is spent.
            IReadOnlyList<(Operation What, string Problem)> tasks =
                [.. FindTasks(OperationList.FindAll(parsed.GetValue(operation)!), parsed.GetValue(problems) ?? [])];
            using var devices = new OpenDevices(parsed.GetValue(threads));
            string[] names = parsed.GetValue(device) is { } name
                ? [devices.Get(name).Name]
                : [.. DeviceList.Names.Where(n => n is not ("reference" or "simulator") && devices.TryGet(n).Device is not null)];
            Dictionary<Device, Roof> roofs = parsed.GetValue(noRoof) ? [] : MeasureRoofs(terminal, names.Select(devices.Get));
            var rows = new List<BenchRow>();
            terminal.ForEach("bench", tasks, task => $"{task.What} {task.Problem}", task => rows.AddRange(task.What.Accept(
                new Bench(task.Problem, names, parsed.GetValue(kernel), parsed.GetValue(rounds), devices, roofs))));
            if (parsed.GetValue(json))
                WriteJson(terminal, parsed.GetValue(operation)!, rows, roofs);
            else
                WriteTables(terminal, rows, roofs);
            return ExitCodes.Success;
        });
        return command;
    }

    // Of several operations, those that the problems given are problems of.
    private static IEnumerable<(Operation What, string Problem)> FindTasks(IReadOnlyList<Operation> operations, string[] problems)
    {
        if (problems.Length == 0)
            return operations.SelectMany(o => o.Benchmarks.Select(problem => (o, problem)));
        Operation[] fitting = [.. operations.Where(o => problems.All(problem => CanParse(o, problem)))];
        for (int i = 0; fitting.Length == 0 && i < problems.Length; i++)
            operations[0].ParseProblem(problems[i]); // says what is wrong
        return fitting.SelectMany(o => problems.Select(problem => (o, problem)));
    }

    private static bool CanParse(Operation operation, string problem)
    {
        try
        {
            operation.ParseProblem(problem);
            return true;
        }
        catch (FormatException)
        {
            return false;
        }
    }

    private static Dictionary<Device, Roof> MeasureRoofs(Terminal terminal, IEnumerable<Device> devices) => devices
        .Where(d => d.Kind is not (DeviceKinds.Reference or DeviceKinds.Simulator))
        .ToDictionary(d => d, d => terminal.Wait($"measuring the roof of {d.Name}", () => Roofs.Measure(d)));

    private static void WriteTables(Terminal terminal, List<BenchRow> rows, Dictionary<Device, Roof> roofs)
    {
        foreach ((Device device, Roof roof) in roofs)
            terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{device.Name}: {device.Description}; roof {roof.Gflops:0} GFLOP/s, {roof.ReadBytesPerSecond / 1e9:0.0} GB/s"));
        foreach (IGrouping<string, BenchRow> group in rows.GroupBy(r => r.Problem))
        {
            terminal.Output.WriteLine();
            terminal.Output.WriteLine(group.Key);
            Table table = Terminal.NewTable("kernel", "device", "median", "spread", "GFLOP/s", "GB/s", "% of roof", "times plain");
            foreach (BenchRow row in group)
            {
                table.AddRow(row.MedianMicroseconds is null
                    ? [Markup.Escape(row.Kernel), row.Device, Markup.Escape(row.WhyNotRun ?? ""), "", "", "", "", ""]
                    : [Markup.Escape(row.Kernel), row.Device, FormatTime(row.MedianMicroseconds.Value), Format(row.SpreadPercent, "0") + " %",
                        Format(row.Gflops, "0.0"), Format(row.GigabytesPerSecond, "0.0"), Format(row.RoofPercent, "0"), Format(row.TimesPlain, "0.0")]);
            }
            terminal.Write(table);
        }
    }

    private static void WriteJson(Terminal terminal, string operation, List<BenchRow> rows, Dictionary<Device, Roof> roofs) =>
        Json.Write(terminal.Output, new
        {
            operation,
            processor = Machine.Current,
            devices = roofs.Select(pair => new { pair.Key.Name, pair.Key.Description, pair.Value.Gflops, pair.Value.ReadBytesPerSecond }),
            results = rows,
        });

    private static string FormatTime(double microseconds) =>
        microseconds < 1e4 ? Format(microseconds, "0.0") + " µs" : Format(microseconds / 1e3, "0.0") + " ms";

    private static string Format(double? number, string format) => number is { } value ? value.ToString(format, CultureInfo.InvariantCulture) : "";
}
