using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli;

/// <summary>Measures what each head's attention is worth by distance, and writes the rules of spans that lose least.</summary>
internal static class SpansRun
{
    private const int Shown = 4;

    public static int Run(Terminal terminal, Device device, SpansRequest request)
    {
        using LoadedModel model = terminal.Wait("loading the model", () => ModelLoader.Load(request.ModelPath, device, request.Load));
        int[] lengths = request.UnseenLength > 0 ? [.. request.Lengths, request.UnseenLength] : [.. request.Lengths];
        int most = lengths.Max() * request.Samples;
        int[] text = TextBeginning.ReadTokens(request.TextPath, model.Tokenizer, most, addSpecialTokens: true);
        if (text.Length < lengths.Max() || lengths.Min() <= request.AnswerLength)
        {
            throw new ArgumentException(
                $"Pieces of {lengths.Min()} to {lengths.Max()} tokens with answers of {request.AnswerLength} need a longer text than of "
                + $"{text.Length} tokens, or shorter answers.");
        }
        var profiles = new List<MoaProfile>();
        terminal.ForEach("profile", lengths, length => $"{length} tokens", length => profiles.Add(MoaProfile.Measure(
            model.Description, model.Weights, Continue(model, text, length, request), request.BlockSize)));
        int numHeads = model.Description.Layers[0].NumHeads;
        MoaRules rules = request.UnseenLength > 0
            ? MoaPlanner.Plan(profiles[..^1], numHeads, request.Plan, profiles[^1])
            : MoaPlanner.Plan(profiles, numHeads, request.Plan);
        rules.Save(request.OutputPath);
        terminal.WriteLine($"{request.OutputPath}: {rules.Alphas.NumLayers} layers of {numHeads} heads");
        var counts = from layer in Enumerable.Range(0, rules.Alphas.NumLayers)
                     from head in Enumerable.Range(0, numHeads)
                     group head by (Alpha: rules.Alphas[layer, head], Beta: rules.Betas[layer, head]) into heads
                     orderby heads.Count() descending
                     select FormattableString.Invariant($"  {heads.Count()} heads: {heads.Key.Alpha} + {heads.Key.Beta} N");
        foreach (string line in counts.Take(Shown))
            terminal.WriteLine(line);
        return ExitCodes.Success;
    }

    // Pieces of the text, each ended by what the model itself says: what its attention is needed for.
    private static TailText[] Continue(LoadedModel model, int[] text, int length, SpansRequest request)
    {
        using ModelRunner runner = model.CreateRunner();
        int samples = Math.Min(request.Samples, text.Length / length);
        var options = new GenerationOptions { MaxTokens = request.AnswerLength, StopTokens = [] };
        return [.. Enumerable.Range(0, samples).Select(i =>
        {
            int start = length - request.AnswerLength;
            int[] beginning = text.AsSpan(i * length, start).ToArray();
            runner.Reset();
            return new TailText((int[])[.. beginning, .. runner.Generate(beginning, options)], start);
        })];
    }
}
