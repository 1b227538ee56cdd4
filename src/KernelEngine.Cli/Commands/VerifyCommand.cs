using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>verify</c>: kernels against the double-precision reference, contiguous and strided.</summary>
internal static class VerifyCommand
{
    /// <summary>The simulator runs one work item at a time: larger problems are left to real devices unless one is named.</summary>
    public const double SimulatorFlopLimit = 1.5e5;

    public static Command Create(Terminal terminal)
    {
        Argument<string?> kernel = new("kernel") { Arity = ArgumentArity.ZeroOrOne, Description = "A kernel, or an operation for all of its kernels; nothing for all." };
        Argument<string?> problem = new("problem") { Arity = ArgumentArity.ZeroOrOne, Description = "A problem's text form in quotes; nothing for the operation's examples." };
        Option<string?> cases = new("--cases") { Description = "A file of problems in place of the examples: a line has an operation and a problem." };
        Option<string?> device = Arguments.Device("Only this device");
        Option<int> seed = new("--seed") { DefaultValueFactory = _ => 1, Description = "Seed of the random inputs." };
        Option<double> timeLimit = new("--time-limit") { Description = "Seconds after which no further problem is begun; what is left is counted. 0 for none." };
        timeLimit.Validators.Add(result => Arguments.Require(result, result.GetValue(timeLimit) >= 0, "--time-limit must be 0 or more seconds."));
        Option<bool> failures = new("--failures") { Description = "Print what is wrong or failed and a count of the rest, without a table." };
        Option<int> threads = Arguments.Threads();
        Option<bool> json = Arguments.Json();
        var command = new Command("verify", """
            Compare kernels with the double-precision reference on random inputs, contiguous and strided.

            Examples:
              kernel-engine verify
              kernel-engine verify linear --device cpu
              kernel-engine verify attention-forward "h=8 kv=2 q=65 k=129 d=64 causal bf16"
              kernel-engine verify --cases cases.txt --device cuda --failures --time-limit 60
            """)
        { kernel, problem, cases, device, seed, timeLimit, failures, threads, json };
        command.SetAction(parsed =>
        {
            using var devices = new OpenDevices(parsed.GetValue(threads));
            if (parsed.GetValue(cases) is not null && parsed.GetValue(problem) is not null)
                throw new ArgumentException("A problem and --cases exclude each other.");
            var request = new Request(
                parsed.GetValue(kernel), parsed.GetValue(problem), parsed.GetValue(cases) is { } path ? CaseFile.Read(path) : null,
                parsed.GetValue(device), parsed.GetValue(seed), devices);
            var report = new VerifyReport(Run(terminal, Collect(request), devices, parsed.GetValue(timeLimit)));
            if (parsed.GetValue(json))
                report.WriteJson(terminal);
            else if (parsed.GetValue(failures))
                report.WriteFailures(terminal);
            else
                report.WriteTable(terminal);
            return report.ExitCode;
        });
        return command;
    }

    private static List<VerifyOutcome> Run(Terminal terminal, List<Check> checks, OpenDevices devices, double timeLimit)
    {
        long start = Stopwatch.GetTimestamp();
        List<VerifyOutcome> outcomes = [.. checks.Where(c => c.SkipReason is not null)
            .Select(c => new VerifyOutcome(VerifyStatus.Skipped, c.Kernel, c.Device, c.Problem, Message: c.SkipReason))];
        terminal.ForEach("verify", [.. checks.Where(c => c.SkipReason is null)], c => $"{c.Kernel} on {c.Device}", check =>
        {
            if (timeLimit > 0 && Stopwatch.GetElapsedTime(start).TotalSeconds > timeLimit)
            {
                outcomes.Add(new VerifyOutcome(VerifyStatus.Skipped, check.Kernel, check.Device, check.Problem,
                    Message: string.Create(CultureInfo.InvariantCulture, $"the time limit of {timeLimit} s was reached")));
                return;
            }
            foreach (OperandPlacement placement in Enum.GetValues<OperandPlacement>())
                outcomes.Add(Run(check, placement, devices));
        });
        return outcomes;
    }

    // A kernel that fails in any way is a finding about that kernel: the next one gets a fresh device.
    private static VerifyOutcome Run(Check check, OperandPlacement placement, OpenDevices devices)
    {
        try
        {
            VerificationResult result = check.Run(placement);
            return new VerifyOutcome(
                result.IsCorrect ? VerifyStatus.Right : VerifyStatus.Wrong, check.Kernel, check.Device, check.Problem, placement, result, result.Failure);
        }
        catch (Exception e)
        {
            VerifyStatus status = e is KernelCompilationException ? VerifyStatus.NotCompiled : VerifyStatus.Failed;
            devices.Drop(check.Device);
            return new VerifyOutcome(status, check.Kernel, check.Device, check.Problem, placement, Message: e.Message.ReplaceLineEndings(" "));
        }
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
        if (checks.Count == 0 && request.Cases is null)
            throw new ArgumentException($"There is no kernel '{request.Kernel}'{(request.Device is { } d ? $" on device '{d}'" : "")}. `kernel-engine kernels` lists them.");
        if (request.Problem is not null && checks.TrueForAll(c => c.SkipReason is not null))
            throw new ArgumentException($"'{request.Problem}' cannot be verified: {string.Join("; ", checks.Select(c => $"{c.Kernel} on {c.Device}: {c.SkipReason}").Distinct())}.");
        return checks;
    }

    private sealed record Request(
        string? Kernel, string? Problem, ILookup<string, string>? Cases, string? Device, int Seed, OpenDevices Devices);

    /// <summary>One kernel on one device for one problem, ready to run, or the reason why it is not.</summary>
    private sealed record Check(
        string Kernel, string Device, string Problem, string? SkipReason, Func<OperandPlacement, VerificationResult> Run);

    private sealed class Collector(Request request) : IOperationVisitor<List<Check>>
    {
        public List<Check> Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            bool isNamed = request.Kernel is not null && request.Kernel != operation.Name;
            Kernel<TProblem>[] kernels = [.. operation.Kernels.Append(operation.Plain).Where(k => isNamed ? k.Name == request.Kernel : k.Devices != DeviceKinds.Reference && k != operation.Plain)];
            var checks = new List<Check>();
            foreach (string text in request.Problem is { } one ? [one] : request.Cases?[operation.Name] ?? operation.Examples)
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

        private Check Plan<TProblem>(Lazy<Expectation<TProblem>> expectation, Kernel<TProblem> kernel, string device, TProblem problem)
            where TProblem : struct, IProblem<TProblem>
        {
            string? reason = request.Devices.TryGet(device).Reason ?? kernel.WhyUnavailable ?? kernel.WhyUnsupported(problem);
            if (reason is null && device == "simulator" && request.Problem is null && problem.Flops > SimulatorFlopLimit)
                reason = $"more than {SimulatorFlopLimit:0} FLOP, too slow unless the problem is named";
            return new Check(kernel.Name, device, problem.ToText(), reason,
                placement => Verifier.Verify(expectation.Value, kernel, request.Devices.Get(device), placement));
        }
    }
}
