using System.Globalization;
using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Cli;

/// <summary>Writes a model, changed if that was asked for, with its tokenizer.</summary>
internal static class ConvertRun
{
    private const int ProjectionTokens = 512; // the search for ranks attends to them again and again
    private const int RankSteps = 8; // from no element of a row to all: 16 of the 128 that the paper's models have

    public static int Run(Terminal terminal, Device device, ConvertRequest request)
    {
        string? reads = request.GroupSize > 1 ? "--group"
            : request.AddsCodebooks ? "--codebooks"
            : request.FeedForwardBlocks > 0 ? "--ffn-blocks"
            : request.KvShare < 1 ? "--kv-share"
            : null;
        if (reads is not null && request.TextPath is null)
            throw new ArgumentException($"{reads} needs a text: --text FILE.");
        using ModelFile model = ModelFile.Open(request.ModelPath);
        string tokenizerPath = request.TokenizerPath ?? ModelLoader.FindTokenizer(model.Path);
        ITokenizer tokenizer = ModelLoader.LoadTokenizer(tokenizerPath, model.Description);
        string copy = Path.Combine(request.OutputPath, Path.GetFileName(tokenizerPath));
        if (Path.GetFullPath(copy) == Path.GetFullPath(tokenizerPath))
            throw new ArgumentException("--output must be another folder than the model's.");
        (ModelDescription description, IWeightSource weights) = (model.Description, model.Weights);
        if (request.GroupSize > 1)
        {
            ReducedModel reduced = terminal.Wait("reading", () => Reduce(model, tokenizer, device, request));
            for (int layer = 0; layer < reduced.KeyEnergy.Count; layer++)
            {
                terminal.WriteLine(
                    $"layer {layer}: {Percent(reduced.KeyEnergy[layer])} of keys, {Percent(reduced.ValueEnergy[layer])} of values");
            }
            (description, weights) = (reduced.Description, reduced.Weights);
        }
        if (request.AddsCodebooks)
            (description, weights) = terminal.Wait("fitting codebooks", () => CodebookFitting.Fit(device, description, weights, ReadText()));
        if (request.FeedForwardBlocks > 0)
        {
            RoutedModel routed = terminal.Wait("fitting routers", () => FeedForwardBlocks.Convert(
                device, description, weights, ReadText(), request.FeedForwardBlocks, request.ActiveFeedForwardBlocks, request.Grouping));
            for (int layer = 0; layer < routed.RouterShare.Count; layer++)
            {
                terminal.WriteLine(
                    $"layer {layer}: {request.ActiveFeedForwardBlocks} of {request.FeedForwardBlocks} blocks hold {Percent(routed.RouterShare[layer])}, "
                    + $"the best choice {Percent(routed.BestShare[layer])}");
            }
            (description, weights) = (routed.Description, routed.Weights);
        }
        MatryoshkaProjection? projection = null;
        if (request.KvShare < 1)
        {
            projection = terminal.Wait("choosing directions", () => Project(device, description, weights, ReadText(), request.KvShare));
            for (int layer = 0; layer < description.Layers.Length; layer++)
            {
                (HeadBasis key, HeadBasis value) = (projection.Key(layer, 0), projection.Value(layer, 0));
                terminal.WriteLine($"layer {layer}: {key.Rank} of {key.Width} numbers of a key, {value.Rank} of {value.Width} of a value");
            }
        }
        terminal.Wait("writing", () =>
        {
            HuggingFaceCheckpoint.Write(request.OutputPath, description, weights, request.Type);
            File.Copy(tokenizerPath, copy, overwrite: true);
            projection?.Save(Path.Combine(request.OutputPath, KvProjections.FileName));
            return true;
        });
        string[] names = [HuggingFaceCheckpoint.ConfigName, HuggingFaceCheckpoint.WeightsName, Path.GetFileName(copy)];
        terminal.WriteLine($"{request.OutputPath}: {string.Join(", ", projection is null ? names : [.. names, KvProjections.FileName])}");
        return ExitCodes.Success;

        int[] ReadText() => TextBeginning.ReadTokens(request.TextPath!, tokenizer, description.MaxPosition, addSpecialTokens: true);
    }

    private static ReducedModel Reduce(ModelFile model, ITokenizer tokenizer, Device device, ConvertRequest request)
    {
        int[] tokens = TextBeginning.ReadTokens(request.TextPath!, tokenizer, model.Description.MaxPosition, addSpecialTokens: true);
        using var weights = ModelWeights.Load(device, model.Description, model.Weights);
        return KvHeadReduction.Reduce(model.Weights, ModelCapture.Read(model.Description, weights, tokens), request.GroupSize);
    }

    private static MatryoshkaProjection Project(
        Device device, ModelDescription description, IWeightSource source, int[] tokens, double share)
    {
        using var weights = ModelWeights.Load(device, description, source);
        var projection = new MatryoshkaProjection(
            ModelCapture.Read(description, weights, tokens.AsSpan(0, Math.Min(tokens.Length, ProjectionTokens))));
        int size = description.Layers.Min(layer => Math.Min(layer.HeadDim, layer.ValueHeadDim));
        projection.ChooseRanks(share, Math.Max(1, size / RankSteps), isByLayer: true);
        return projection;
    }

    private static string Percent(double share) => (100 * share).ToString("0.00", CultureInfo.InvariantCulture) + " %";
}
