using System.Diagnostics;
using KernelEngine.Models;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Cli;

/// <summary>A model from files continues a prompt; its tokens are compared with the expected ones where those are known.</summary>
internal static class ModelRun
{
    public static int Run(Terminal terminal, Device device, string path, ModelRunRequest request)
    {
        using LoadedModel model = terminal.Wait("loading the model", () => ModelLoader.Load(path, device, request.Load));
        using KvProjections? projections = request.Cache.LoadProjections(device, model.Description);
        RunnerOptions options = request.Runner with
        {
            Policy = request.Cache.CreatePolicy(model.Description),
            Projections = projections?.Layers,
        };
        if (request.ActiveFeedForwardBlocks is { } active)
            options = options with { ActiveFeedForwardBlocks = active > 0 ? active : RoutedBlocks(model.Description) };
        using ModelRunner runner = model.CreateRunner(request.Attention.Apply(options, model.Description, request.Cache.Length));
        int[] prompt = model.Tokenizer.Encode(request.Prompt);
        if (prompt.Length == 0)
            throw new ArgumentException("The prompt is empty and this model has no token that begins a text: give --prompt.");
        if (prompt.Length > runner.RemainingPositions)
            throw new ArgumentException($"The prompt has {prompt.Length} tokens but the model has {model.Description.MaxPosition} positions.");
        ExpectedText? expected = FindExpected(path, request);
        TokenDecoder decoder = model.Tokenizer.CreateDecoder();
        foreach (int id in prompt)
            Print(terminal, decoder.Append(id));

        var generated = new List<int>();
        TimeSpan prefill = default;
        long start = Stopwatch.GetTimestamp();
        foreach (int id in runner.Generate(prompt, request.Generation))
        {
            if (generated.Count == 0)
                prefill = Stopwatch.GetElapsedTime(start);
            generated.Add(id);
            Print(terminal, decoder.Append(id));
        }
        TimeSpan decode = Stopwatch.GetElapsedTime(start) - prefill;
        Print(terminal, decoder.Flush());
        terminal.Output.WriteLine();

        // The first token comes with the prefill.
        RunReport.Write(terminal.Error, runner, prompt.Length, prefill, Math.Max(0, generated.Count - 1), decode);
        if (expected is null)
            return ExitCodes.Success;
        string? difference = expected.FindDifference(prompt, generated, request.Generation.MaxTokens);
        terminal.Error.WriteLine(difference is null
            ? $"verified all {generated.Count} new tokens are the reference's"
            : $"WRONG    {difference}");
        return difference is null ? ExitCodes.Success : ExitCodes.WrongResult;
    }

    private static int RoutedBlocks(ModelDescription description) => description.Layers[0].ActiveFeedForwardBlocks is > 0 and var blocks
        ? blocks
        : throw new ArgumentException("The model has no router for its feed-forward networks: see `convert --ffn-blocks`.");

    private static ExpectedText? FindExpected(string path, ModelRunRequest request)
    {
        if (request.ExpectPath is { } given)
        {
            return ExpectedText.Find(given, request.Prompt)
                ?? throw new ArgumentException($"'{given}' expects nothing for this prompt; it knows: {string.Join(", ", ExpectedText.Prompts(given).Select(p => $"'{p}'"))}.");
        }
        string folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        string beside = Path.Combine(folder, ExpectedText.FileName);
        return request.IsExact && File.Exists(beside) ? ExpectedText.Find(beside, request.Prompt) : null;
    }

    private static void Print(Terminal terminal, ReadOnlySpan<char> text)
    {
        if (text.Length == 0)
            return;
        terminal.Output.Write(text);
        terminal.Output.Flush();
    }
}
