using System.CommandLine;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>kernels</c>: every kernel of every operation, where it runs, and why it does not run here.</summary>
internal static class KernelsCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<bool> json = Arguments.Json();
        Option<bool> markdown = new("--markdown") { Description = "Print operations x devices x types, as the README has it." };
        Option<bool> features = new("--features") { Description = "Print attention's features x devices, as the README has it." };
        var command = new Command("kernels", "Every kernel, where it runs, and why it does not run here.") { json, markdown, features };
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(markdown))
            {
                terminal.Output.Write(SupportTable.ToMarkdown());
                return ExitCodes.Success;
            }
            if (parsed.GetValue(features))
            {
                terminal.Output.Write(FeatureTable.ToMarkdown());
                return ExitCodes.Success;
            }
            using var devices = new OpenDevices(threads: 0);
            List<Row> rows = [.. OperationList.All.SelectMany(operation => operation.Accept(new Collector(devices)))];
            if (parsed.GetValue(json))
                Json.Write(terminal.Output, new { kernels = rows });
            else
                terminal.Write(ToTable(rows));
            return ExitCodes.Success;
        });
        return command;
    }

    private static Table ToTable(List<Row> rows)
    {
        Table table = Terminal.NewTable("kernel", "devices", "examples", "here");
        foreach (Row row in rows)
        {
            table.AddRow(
                Markup.Escape(row.Name), string.Join(", ", row.Devices), $"{row.Supports.Count} of {row.Supports.Count + row.Refuses.Count}",
                row.WhyUnavailable is null ? "yes" : Markup.Escape(row.WhyUnavailable));
        }
        return table;
    }

    private sealed class Collector(OpenDevices devices) : IOperationVisitor<List<Row>>
    {
        public List<Row> Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem> =>
            [.. operation.Kernels.Select(kernel => Describe(operation, kernel))];

        private Row Describe<TProblem>(Operation<TProblem> operation, Kernel<TProblem> kernel) where TProblem : struct, IProblem<TProblem>
        {
            string[] names = Arguments.DeviceNames(kernel.Devices);
            string? unavailable = kernel.WhyUnavailable;
            if (unavailable is null && names.All(name => devices.TryGet(name).Device is null))
                unavailable = devices.TryGet(names[0]).Reason;
            ILookup<bool, (string Problem, string? Reason)> examples = operation.Examples
                .Select(text => (text, kernel.WhyUnsupported(ProblemText.Parse<TProblem>(text))))
                .ToLookup(pair => pair.Item2 is null);
            return new Row(
                kernel.Name, operation.Name, operation.Summary, names, unavailable is null, unavailable,
                [.. examples[true].Select(pair => pair.Problem)],
                examples[false].ToDictionary(pair => pair.Problem, pair => pair.Reason!));
        }
    }

    /// <param name="Supports">The operation's examples that the kernel computes.</param>
    /// <param name="Refuses">Those it does not, and why.</param>
    private sealed record Row(
        string Name, string Operation, string Summary, string[] Devices, bool IsAvailable, string? WhyUnavailable,
        List<string> Supports, Dictionary<string, string> Refuses);
}
