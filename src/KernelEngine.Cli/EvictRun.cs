using System.Globalization;
using System.Text;
using KernelEngine.Cli.Pictures;
using KernelEngine.Models;
using KernelEngine.Models.Evaluation;
using KernelEngine.Models.Heads;
using Spectre.Console;

namespace KernelEngine.Cli;

/// <summary>Runs policies at budgets, and shows what each costs: a table, a file, pictures.</summary>
internal static class EvictRun
{
    private const int DefaultLength = 512, RetrievalLayer = 1, RetrievalHead = 0;
    private const string Locret = "locret";

    private static readonly (double Depth, bool Question, string Name)[] Needles =
        [(0.3, true, "asked, 0.3"), (0.7, true, "asked, 0.7"), (0.3, false, "unasked, 0.3"), (0.7, false, "unasked, 0.7")];

    public static int Run(Terminal terminal, Device device, EvictRequest request)
    {
        // A folder that cannot be written, or a picture that cannot be drawn, shows before the hours of work.
        if (request.OutputFolder is { } folder)
            Directory.CreateDirectory(folder);
        string[] policies = [.. request.Policies.Where(policy => policy != Locret || request.NetworksPath is not null)];
        if (policies.Length < request.Policies.Count)
            terminal.Error.WriteLine($"{Locret} is left out: its networks are trained for a model, and --networks names no file of them");
        (string Policy, int Budget)[] runs = [.. from policy in policies from budget in request.Budgets select (policy, budget)];
        using RetainingNetworks? networks = request.NetworksPath is { } file ? RetainingNetworks.Load(device, file) : null;
        var cache = new CacheRequest
        {
            HeadsPath = request.HeadsPath,
            FullShare = request.FullShare,
            Networks = networks?.Layers,
            ProjectionsPath = request.ProjectionsPath,
        };
        List<EvictRow> rows = request.ModelPath is { } path
            ? ReadText(terminal, device, path, request, cache, runs)
            : FindNeedles(terminal, device, request, cache, runs);
        if (request.IsJson)
            Json.Write(terminal.Output, rows);
        else
            terminal.Write(request.ModelPath is null ? NeedleTable(rows) : TextTable(rows));
        if (request.OutputFolder is { } target)
            WriteFiles(terminal, target, rows);
        return ExitCodes.Success;
    }

    private static List<EvictRow> FindNeedles(
        Terminal terminal, Device device, EvictRequest request, CacheRequest cache, (string Policy, int Budget)[] runs)
    {
        int length = request.Length > 0 ? request.Length : DefaultLength;
        using var needles = new NeedleEvaluation(device, length);
        KvPolicySettings settings = (cache with
        {
            Phases = KvPhases.PrefillEnd,
            Applies = (layer, head) => (layer, head) == (RetrievalLayer, RetrievalHead),
            Length = length,
        }).CreateSettings(needles.Description);
        Check(runs, settings);
        using KvProjections? projections = cache.LoadProjections(device, needles.Description);
        var shorter = new RunnerOptions { Projections = projections?.Layers };
        var rows = new List<EvictRow> { Measure("full", null, RunnerOptions.Default) };
        terminal.ForEach("evict", runs, run => $"{run.Policy} {run.Budget}", run => rows.Add(Measure(run.Policy, run.Budget, shorter)));
        return rows;

        EvictRow Measure(string policy, int? budget, RunnerOptions options)
        {
            var accuracy = new Dictionary<string, double>();
            NeedleScore score = default;
            foreach ((double depth, bool question, string name) in Needles)
            {
                score = needles.Run(
                    text => Create(policy, budget ?? length, settings with { Seed = text }), depth, request.Seeds, question, options);
                accuracy.Add(name, score.Accuracy);
            }
            return new EvictRow { Policy = policy, Budget = budget, KeptShare = score.KeptShare, CacheBytes = score.CacheBytes, NeedleAccuracy = accuracy };
        }
    }

    private static List<EvictRow> ReadText(
        Terminal terminal, Device device, string path, EvictRequest request, CacheRequest cache, (string Policy, int Budget)[] runs)
    {
        string text = request.TextPath is { } file ? File.ReadAllText(file, new UTF8Encoding(false, throwOnInvalidBytes: true))
            : throw new ArgumentException("A model from files reads a text: give --text.");
        using LoadedModel model = terminal.Wait("loading the model", () => ModelLoader.Load(path, device, request.Load));
        int[] tokens = model.Tokenizer.Encode(text);
        int length = Math.Min(Math.Min(request.Length > 0 ? request.Length : DefaultLength, model.Description.MaxPosition), tokens.Length);
        int prompt = request.PromptLength >= 0 ? request.PromptLength : length / 2;
        KvPolicySettings settings = (cache with { Length = length }).CreateSettings(model.Description);
        Check(runs, settings);
        using KvProjections? projections = cache.LoadProjections(device, model.Description);
        var shorter = new RunnerOptions { Projections = projections?.Layers };
        TextEvaluation evaluation = terminal.Wait("reading with a full cache", () => new TextEvaluation(model.Description, model.Weights, tokens.AsSpan(0, length), prompt));
        var rows = new List<EvictRow> { ToRow("full", null, evaluation.Full) };
        terminal.ForEach("evict", runs, run => $"{run.Policy} {run.Budget}", run => rows.Add(ToRow(
            run.Policy, run.Budget, evaluation.Run(Create(run.Policy, run.Budget, settings), shorter))));
        return rows;
    }

    // Names and settings are checked before the first text is read.
    private static void Check((string Policy, int Budget)[] runs, KvPolicySettings settings)
    {
        foreach ((string policy, int budget) in runs)
            _ = Create(policy, budget, settings);
    }

    private static KvPolicy Create(string policy, int budget, KvPolicySettings settings) => KvPolicyList.Create(policy, settings with { Budget = budget });

    private static EvictRow ToRow(string policy, int? budget, TextLoss loss) => new()
    {
        Policy = policy,
        Budget = budget,
        KeptShare = loss.KeptShare,
        CacheBytes = loss.CacheBytes,
        Perplexity = loss.Perplexity,
        Divergence = loss.Divergence,
        Agreement = loss.Agreement,
        OutputError = loss.OutputError,
        TokensPerSecond = loss.TokensPerSecond,
        KeptSlots = loss.KeptSlots,
    };

    private static Table NeedleTable(IReadOnlyList<EvictRow> rows)
    {
        Table table = Terminal.NewTable(["policy", "budget", "kept", "KiB", .. Needles.Select(needle => needle.Name)]);
        foreach (EvictRow row in rows)
            table.AddRow([.. Head(row), .. Needles.Select(needle => Text($"{row.NeedleAccuracy![needle.Name]:0.00}"))]);
        return table;
    }

    private static Table TextTable(IReadOnlyList<EvictRow> rows)
    {
        Table table = Terminal.NewTable("policy", "budget", "kept", "KiB", "perplexity", "KL", "agreement", "output error", "tokens/s");
        foreach (EvictRow row in rows)
        {
            table.AddRow([.. Head(row), Text($"{row.Perplexity:0.000}"), Text($"{row.Divergence:0.0000}"), Text($"{row.Agreement:0.0 %}"),
                Text($"{row.OutputError:0.000}"), Text($"{row.TokensPerSecond:0}")]);
        }
        return table;
    }

    private static string[] Head(EvictRow row) =>
        [row.Policy, row.Budget?.ToString(CultureInfo.InvariantCulture) ?? "", Text($"{row.KeptShare:0.0 %}"), Text($"{row.CacheBytes / 1024:0}")];

    private static string Text(FormattableString value) => value.ToString(CultureInfo.InvariantCulture);

    private static void WriteFiles(Terminal terminal, string folder, IReadOnlyList<EvictRow> rows)
    {
        string file = Path.Combine(folder, "evict.json");
        using (var writer = new StreamWriter(file))
            Json.Write(writer, rows);
        terminal.Error.WriteLine($"wrote    {file}");
        if (PictureFonts.WhyUnavailable() is { } reason)
        {
            terminal.Error.WriteLine($"no pictures: {reason}");
            return;
        }
        foreach (string picture in EvictPictures.Save(folder, rows))
            terminal.Error.WriteLine($"wrote    {picture}");
    }
}
