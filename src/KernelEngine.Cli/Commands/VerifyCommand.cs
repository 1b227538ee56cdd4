using System.CommandLine;
using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>verify</c>: kernels against the double-precision reference, contiguous and strided.</summary>
internal static class VerifyCommand
{
    /// <summary>The simulator runs one work item at a time: larger problems are left to real devices unless one is named.</summary>
    public const double SimulatorFlopLimit = 1e6;

    public static Command Create(Terminal terminal)
    {
        Argument<string?> kernel = new("kernel") { Arity = ArgumentArity.ZeroOrOne, Description = "A kernel, or an operation for all of its kernels; nothing for all." };
        Argument<string?> problem = new("problem") { Arity = ArgumentArity.ZeroOrOne, Description = "A problem's text form in quotes; nothing for the operation's examples." };
        Option<string?> device = Arguments.Device("Only this device");
        Option<int> seed = new("--seed") { DefaultValueFactory = _ => 1, Description = "Seed of the random inputs." };
        Option<int> threads = Arguments.Threads();
        Option<bool> json = Arguments.Json();
        var command = new Command("verify", """
            Compare kernels with the double-precision reference on random inputs, contiguous and strided.

            Examples:
              kernel-engine verify
              kernel-engine verify linear --device cpu
              kernel-engine verify attention-forward "h=8 kv=2 q=65 k=129 d=64 causal bf16"
            """)
        { kernel, problem, device, seed, threads, json };
        command.SetAction(parsed =>
        {
            using var devices = new OpenDevices(parsed.GetValue(threads));
            var request = new Request(
                parsed.GetValue(kernel), parsed.GetValue(problem), parsed.GetValue(device), parsed.GetValue(seed), devices);
            List<Check> checks = Collect(request);
            List<Skip> skips = [.. checks.Where(c => c.SkipReason is not null).Select(c => new Skip(c.Kernel, c.Device, c.Problem, c.SkipReason!))];
            var results = new List<(OperandPlacement Placement, VerificationResult Result)>();
            terminal.ForEach("verify", [.. checks.Where(c => c.SkipReason is null)], c => $"{c.Kernel} on {c.Device}", c => results.AddRange(c.Run()));
            bool isCorrect = results.TrueForAll(r => r.Result.IsCorrect);
            if (parsed.GetValue(json))
                WriteJson(terminal, results, skips, isCorrect);
            else
                WriteTable(terminal, results, skips);
            return isCorrect ? ExitCodes.Success : ExitCodes.WrongResult;
        });
        return command;
    }

    private static List<Check> Collect(Request request)
    {
        if (request.Device is { } name)
            request.Devices.Get(name);
        IEnumerable<Operation> operations = OperationList.All;
        if (request.Kernel is { } wanted)
        {
            operations = operations.Where(o => o.Name == wanted || wanted.StartsWith(o.Name + "/", StringComparison.Ordinal));
            if (!operations.Any())
            {
                throw new ArgumentException(
                    $"There is no kernel or operation '{wanted}'. Operations: {string.Join(", ", OperationList.All.Select(o => o.Name))}; `kernel-engine kernels` lists the kernels.");
            }
        }
        List<Check> checks = [.. operations.SelectMany(operation => operation.Accept(new Collector(request)))];
        if (checks.Count == 0)
            throw new ArgumentException($"There is no kernel '{request.Kernel}'{(request.Device is { } d ? $" on device '{d}'" : "")}. `kernel-engine kernels` lists them.");
        if (request.Problem is not null && checks.TrueForAll(c => c.SkipReason is not null))
            throw new ArgumentException($"'{request.Problem}' cannot be verified: {string.Join("; ", checks.Select(c => $"{c.Kernel} on {c.Device}: {c.SkipReason}").Distinct())}.");
        return checks;
    }

    private static void WriteTable(Terminal terminal, List<(OperandPlacement Placement, VerificationResult Result)> results, List<Skip> skips)
    {
        Table table = Terminal.NewTable("kernel", "device", "problems", "error / allowed", "");
        foreach (var group in results.GroupBy(r => (r.Result.Kernel, r.Result.Device)))
        {
            int wrong = group.Count(r => !r.Result.IsCorrect);
            double worst = group.Max(r => r.Result.Bar > 0 ? r.Result.Error / r.Result.Bar : 0);
            table.AddRow(
                Markup.Escape(group.Key.Kernel), group.Key.Device, group.Select(r => r.Result.Problem).Distinct().Count().ToString(CultureInfo.InvariantCulture),
                worst.ToString("0.00", CultureInfo.InvariantCulture), wrong == 0 ? "[green]right[/]" : $"[red]{wrong} wrong[/]");
        }
        terminal.Write(table);
        foreach ((OperandPlacement placement, VerificationResult result) in results.Where(r => !r.Result.IsCorrect))
            terminal.Output.WriteLine($"WRONG ({placement}): {result}");
        foreach (var group in skips.GroupBy(s => (s.Device, s.Reason)))
            terminal.Error.WriteLine($"not verified: {group.Count()} on {group.Key.Device}: {group.Key.Reason}");
    }

    private static void WriteJson(
        Terminal terminal, List<(OperandPlacement Placement, VerificationResult Result)> results, List<Skip> skips, bool isCorrect) =>
        Json.Write(terminal.Output, new
        {
            isCorrect,
            processor = Machine.Current,
            results = results.Select(r => new
            {
                r.Result.Kernel,
                r.Result.Device,
                r.Result.Problem,
                placement = r.Placement.ToString(),
                r.Result.Seed,
                r.Result.IsCorrect,
                r.Result.Error,
                allowed = r.Result.Bar,
                r.Result.Failure,
            }),
            skipped = skips,
        });

    private sealed record Request(string? Kernel, string? Problem, string? Device, int Seed, OpenDevices Devices);

    /// <summary>One kernel on one device for one problem, ready to run, or the reason why it is not.</summary>
    private sealed record Check(
        string Kernel, string Device, string Problem, string? SkipReason, Func<IEnumerable<(OperandPlacement, VerificationResult)>> Run);

    private sealed record Skip(string Kernel, string Device, string Problem, string Reason);

    private sealed class Collector(Request request) : IOperationVisitor<List<Check>>
    {
        public List<Check> Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            bool isNamed = request.Kernel is not null && request.Kernel != operation.Name;
            Kernel<TProblem>[] kernels = [.. operation.Kernels.Append(operation.Plain).Where(k => isNamed ? k.Name == request.Kernel : k.Devices != DeviceKinds.Reference && k != operation.Plain)];
            var checks = new List<Check>();
            foreach (string text in request.Problem is { } one ? [one] : operation.Examples)
            {
                TProblem problem;
                try
                {
                    problem = ProblemText.Parse<TProblem>(text);
                }
                catch (FormatException) when (request.Kernel is null)
                {
                    continue;
                }
                // Computed once, by the first kernel that is compared with it.
                var expectation = new Lazy<Expectation<TProblem>>(() => Verifier.Expect(operation, problem, request.Seed));
                foreach (Kernel<TProblem> kernel in kernels)
                {
                    foreach (string device in Arguments.DeviceNames(kernel.Devices).Where(d => request.Device is null || d == request.Device))
                        checks.Add(Plan(expectation, kernel, device, problem));
                }
            }
            return checks;
        }

        private Check Plan<TProblem>(Lazy<Expectation<TProblem>> expectation, Kernel<TProblem> kernel, string deviceName, TProblem problem)
            where TProblem : struct, IProblem<TProblem>
        {
            (Device? device, string? reason) = request.Devices.TryGet(deviceName);
            reason ??= kernel.WhyUnavailable ?? kernel.WhyUnsupported(problem);
            if (reason is null && deviceName == "simulator" && request.Problem is null && problem.Flops > SimulatorFlopLimit)
                reason = $"more than {SimulatorFlopLimit:0} FLOP, too slow unless the problem is named";
            return new Check(kernel.Name, deviceName, problem.ToText(), reason, () => Enum.GetValues<OperandPlacement>()
                .Select(placement => (placement, Verifier.Verify(expectation.Value, kernel, device!, placement))));
        }
    }
}
