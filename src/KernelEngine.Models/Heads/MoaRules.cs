using System.Text.Json;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Heads;

/// <summary>
/// The attention spans of MoA (Fu et al. 2024, arXiv:2406.14909): query head h of layer l sees α[l, h] + β[l, h] · N tokens of an
/// input of N.
/// </summary>
public sealed class MoaRules
{
    private const int MaxBytes = 1 << 26;

    internal MoaRules(HeadScores alphas, HeadScores betas) => (Alphas, Betas) = (alphas, betas);

    /// <summary>Tokens whatever the length, by layer and query head; may be negative.</summary>
    public HeadScores Alphas { get; }

    /// <summary>Tokens for each token of the input, by layer and query head.</summary>
    public HeadScores Betas { get; }

    /// <summary>Reads the published JSON: <c>alphas</c> and <c>betas</c>, each an array of layers of query heads.</summary>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="ModelFormatException">The file is malformed.</exception>
    public static MoaRules Load(string path)
    {
        using ByteSource source = ByteSource.Open(path);
        using JsonDocument document = StrictJson.Parse(source, MaxBytes);
        var fields = new JsonFields(source, document.RootElement, "");
        HeadScores alphas = ReadTable(fields, "alphas"), betas = ReadTable(fields, "betas");
        return alphas.NumLayers == betas.NumLayers && alphas.NumHeads == betas.NumHeads
            ? new MoaRules(alphas, betas)
            : throw fields.Refuse("betas",
                $"must have shape [{alphas.NumLayers}, {alphas.NumHeads}] as alphas but has [{betas.NumLayers}, {betas.NumHeads}]");
    }

    /// <summary>
    /// Writes the published JSON, which <see cref="Load"/> reads back exactly; an old file gives way when the new one is whole.
    /// </summary>
    public void Save(string path) => AtomicFile.Write(path, stream =>
    {
        using var writer = new Utf8JsonWriter(stream);
        writer.WriteStartObject();
        WriteTable(writer, "alphas", Alphas);
        WriteTable(writer, "betas", Betas);
        writer.WriteEndObject();
    });

    /// <summary>The span of a query head in tokens.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The query head.</param>
    /// <param name="length">Tokens of the input.</param>
    public double Span(int layer, int head, int length) => Alphas[layer, head] + Betas[layer, head] * length;

    /// <summary>The spans of key/value heads, each the longest of the query heads that share it.</summary>
    /// <exception cref="ArgumentException">The query heads do not divide into so many groups.</exception>
    public HeadScores KvSpans(int numKvHeads, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        var spans = new HeadScores(Alphas.NumLayers, Alphas.NumHeads);
        for (int layer = 0; layer < spans.NumLayers; layer++)
        {
            for (int head = 0; head < spans.NumHeads; head++)
                spans[layer, head] = Span(layer, head, length);
        }
        return spans.MaxOverGroups(numKvHeads);
    }

    private static void WriteTable(Utf8JsonWriter writer, string name, HeadScores table)
    {
        writer.WriteStartArray(name);
        for (int layer = 0; layer < table.NumLayers; layer++)
        {
            writer.WriteStartArray();
            foreach (double value in table.Row(layer))
                writer.WriteNumberValue(value);
            writer.WriteEndArray();
        }
        writer.WriteEndArray();
    }

    private static HeadScores ReadTable(JsonFields fields, string name)
    {
        if (fields.Find(name) is not { ValueKind: JsonValueKind.Array } layers)
            throw fields.Refuse(name, "must be an array of layers");
        int numLayers = layers.GetArrayLength();
        int numHeads = numLayers > 0 && layers[0].ValueKind == JsonValueKind.Array ? layers[0].GetArrayLength() : 0;
        if (numLayers > ModelDescription.MaxLayers || numHeads is < 1 or > ModelDescription.MaxHiddenSize)
        {
            throw fields.Refuse(
                name, $"must hold 1 to {ModelDescription.MaxLayers} arrays of 1 to {ModelDescription.MaxHiddenSize} numbers");
        }
        var table = new HeadScores(numLayers, numHeads);
        for (int layer = 0; layer < numLayers; layer++)
        {
            if (layers[layer].ValueKind != JsonValueKind.Array || layers[layer].GetArrayLength() != numHeads)
                throw fields.Refuse($"{name}[{layer}]", $"must be an array of {numHeads} numbers");
            int head = 0;
            foreach (JsonElement value in layers[layer].EnumerateArray())
            {
                bool isNumber = value.ValueKind == JsonValueKind.Number;
                table[layer, head++] = isNumber && value.TryGetDouble(out double number) && double.IsFinite(number)
                    ? number
                    : throw fields.Refuse($"{name}[{layer}]", "must hold finite numbers");
            }
        }
        return table;
    }
}
