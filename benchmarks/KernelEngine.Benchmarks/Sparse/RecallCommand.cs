using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Plot;
using KernelEngine.Cli.Pictures;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>
/// The command <c>recall</c>: of queries, keys and values that a model had, how many of the keys with the highest scores product
/// quantisation finds, and what attention to the chosen keys alone loses against all of them.
/// </summary>
internal static class RecallCommand
{
    private const int TableShare = 8; // one key in eight, as published
    private static readonly int[] _shares = [32, 16, 8, 4, 2];

    public static int Run(ReadOnlySpan<string> args)
    {
        string? output = null;
        var files = new List<string>();
        for (int i = 0; i < args.Length; i++)
        {
            if (args[i] == "--output" && i + 1 < args.Length)
                output = args[++i];
            else if (!args[i].StartsWith('-') && File.Exists(args[i]))
                files.Add(Path.GetFullPath(args[i]));
            else
                return Refuse($"'{args[i]}' is no file and no option.");
        }
        if (files.Count == 0)
            return Refuse("A file is missing.");
        if (PictureFonts.WhyUnavailable() is { } reason)
        {
            Console.Error.WriteLine($"No picture can be drawn: {reason}.");
            return 1;
        }
        string report = Path.GetFullPath(output ?? Path.Combine(Machine.ResultsFolder(), "recall.md"));
        Directory.CreateDirectory(Path.GetDirectoryName(report)!);
        using Device device = DeviceList.Open("cpu", Environment.ProcessorCount);
        var text = new StringBuilder("# What product quantisation finds\n\n");
        text.Append(Machine.Describe(Machine.Command("recall", args), Environment.ProcessorCount)).Append("\n\n");
        text.Append("Rows that see more keys than they keep, all heads and layers, causal. Codebooks of 16 codewords are fitted to the same queries and keys.\n");
        text.Append("Recall: the share of the keys with the highest scores that is among the chosen. Weight: the share of dense attention's weights on the\n");
        text.Append("chosen keys. Error: of the output against that of dense attention, ‖difference‖ / ‖output‖ over all rows.\n");
        foreach (string file in files)
        {
            string name = Path.GetFileName(Path.GetDirectoryName(file)!);
            IReadOnlyList<CapturedHeads> layers;
            try
            {
                layers = CapturedHeads.Read(file);
            }
            catch (InvalidDataException e)
            {
                return Refuse(e.Message);
            }
            var study = new RecallStudy(device, layers);
            string picture = Path.ChangeExtension(report, null) + "-" + Machine.ToSlug(name) + ".png";
            text.Append(Describe(name, layers, study)).Append(CultureInfo.InvariantCulture, $"\n![error against keys kept]({Path.GetFileName(picture)})\n");
            new Chart($"Attention to the chosen keys, {name}", "keys kept, % of the length", "error of the output") { IsLogarithmic = true }.Save(
                picture, study.Selectors.Select(s => new ChartLine(s, [.. _shares.Select(share => (100.0 / share, study.Measure(s, share).Error))])));
        }
        File.WriteAllText(report, text.ToString());
        Console.WriteLine(report);
        return 0;
    }

    private static string Describe(string name, IReadOnlyList<CapturedHeads> layers, RecallStudy study)
    {
        var text = new StringBuilder();
        CapturedHeads first = layers[0];
        text.Append(CultureInfo.InvariantCulture, $"\n## {name}\n\n{layers.Count} layers, {first.NumHeads} query heads over {first.NumKvHeads} of {first.HeadDim} elements, {first.Tokens} tokens.\n\n");
        text.Append(CultureInfo.InvariantCulture, $"| keys chosen by | recall at 1/{TableShare} | weight at 1/{TableShare} |");
        foreach (int share in _shares)
            text.Append(CultureInfo.InvariantCulture, $" error at 1/{share} |");
        text.Append("\n| --- |").Insert(text.Length, " ---: |", 2 + _shares.Length).Append('\n');
        foreach (string selector in study.Selectors)
        {
            RecallFigures figures = study.Measure(selector, TableShare);
            text.Append(CultureInfo.InvariantCulture, $"| {selector} | {figures.Recall:0.000} | {figures.Weight:0.000} |");
            foreach (int share in _shares)
                text.Append(CultureInfo.InvariantCulture, $" {study.Measure(selector, share).Error:0.000} |");
            text.Append('\n');
        }
        return text.ToString();
    }

    private static int Refuse(string reason)
    {
        Console.Error.WriteLine(
            $"{reason}\nrecall FILE.safetensors ... [--output FILE.md]\n  Each file has layers.N.q [tokens, heads, headDim] and layers.N.k, layers.N.v [tokens, kvHeads, headDim], f32.");
        return 2;
    }
}
