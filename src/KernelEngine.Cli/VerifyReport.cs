using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli;

/// <summary>What <c>verify</c> writes about its comparisons.</summary>
internal sealed class VerifyReport(List<VerifyOutcome> outcomes)
{
    /// <summary>A wrong result weighs more than a kernel that did not run.</summary>
    public int ExitCode =>
        outcomes.Exists(o => o.Status == VerifyStatus.Wrong) ? ExitCodes.WrongResult
        : outcomes.Exists(IsFailed) ? ExitCodes.KernelFailed
        : ExitCodes.Success;

    public void WriteTable(Terminal terminal)
    {
        Table table = Terminal.NewTable("kernel", "device", "problems", "error / allowed", "");
        foreach (var group in outcomes.Where(o => o.Status != VerifyStatus.Skipped).GroupBy(o => (o.Kernel, o.Device)))
        {
            int wrong = group.Count(o => o.Status == VerifyStatus.Wrong), failed = group.Count(IsFailed);
            table.AddRow(
                Markup.Escape(group.Key.Kernel), group.Key.Device, group.Select(o => o.Problem).Distinct().Count().ToString(CultureInfo.InvariantCulture),
                WorstRatio(group).ToString("0.00", CultureInfo.InvariantCulture),
                wrong > 0 ? $"[red]{wrong} wrong[/]" : failed > 0 ? $"[red]{failed} failed[/]" : "[green]right[/]");
        }
        terminal.Write(table);
        WriteLines(terminal);
        foreach (var group in outcomes.Where(o => o.Status == VerifyStatus.Skipped).GroupBy(o => (o.Device, o.Message)))
            terminal.Error.WriteLine($"not verified: {group.Count()} on {group.Key.Device}: {group.Key.Message}");
    }

    public void WriteFailures(Terminal terminal)
    {
        WriteLines(terminal);
        terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{Count(VerifyStatus.Right)} right, {Count(VerifyStatus.Wrong)} wrong, {Count(VerifyStatus.NotCompiled)} not compiled, {Count(VerifyStatus.Failed)} failed, {Count(VerifyStatus.Skipped)} skipped; worst error {WorstRatio(outcomes):0.00} of what is allowed"));
    }

    public void WriteJson(Terminal terminal) => Json.Write(terminal.Output, new
    {
        isCorrect = ExitCode == ExitCodes.Success,
        processor = Machine.Current,
        results = outcomes.Select(o => o.Result is { } result ? new
        {
            result.Kernel,
            result.Device,
            result.Problem,
            placement = o.Placement.ToString(),
            result.Seed,
            result.IsCorrect,
            result.Error,
            allowed = result.Bar,
            result.Failure,
        } : null).Where(r => r is not null),
        failed = outcomes.Where(IsFailed).Select(o => new
        {
            o.Kernel,
            o.Device,
            o.Problem,
            placement = o.Placement.ToString(),
            isCompiled = o.Status == VerifyStatus.Failed,
            reason = o.Message,
        }),
        skipped = outcomes.Where(o => o.Status == VerifyStatus.Skipped).Select(o => new { o.Kernel, o.Device, o.Problem, reason = o.Message }),
    });

    private void WriteLines(Terminal terminal)
    {
        foreach (VerifyOutcome outcome in outcomes.Where(o => o.Status == VerifyStatus.Wrong))
            terminal.Output.WriteLine($"WRONG ({outcome.Placement}): {outcome.Result}");
        foreach (VerifyOutcome outcome in outcomes.Where(IsFailed))
        {
            string word = outcome.Status == VerifyStatus.NotCompiled ? "NOT COMPILED" : "FAILED";
            terminal.Output.WriteLine($"{word} ({outcome.Placement}): {outcome.Kernel} on {outcome.Device}: '{outcome.Problem}': {outcome.Message}");
        }
    }

    private int Count(VerifyStatus status) => outcomes.Count(o => o.Status == status);

    private static bool IsFailed(VerifyOutcome outcome) => outcome.Status is VerifyStatus.NotCompiled or VerifyStatus.Failed;

    private static double WorstRatio(IEnumerable<VerifyOutcome> outcomes) =>
        outcomes.Select(o => o.Result is { Bar: > 0 } result ? result.Error / result.Bar : 0).DefaultIfEmpty().Max();
}
