using KernelEngine.Models.Formats;

namespace KernelEngine.Benchmarks.Sparse;

/// <summary>Queries, keys and values of a layer, as attention met them.</summary>
/// <param name="Tokens">Their number.</param>
/// <param name="NumHeads">Query heads.</param>
/// <param name="NumKvHeads">Key/value heads.</param>
/// <param name="HeadDim">Elements of a row.</param>
/// <param name="Query">[tokens, numHeads, headDim]</param>
/// <param name="Key">[tokens, numKvHeads, headDim]</param>
/// <param name="Value">[tokens, numKvHeads, headDim]</param>
internal sealed record CapturedHeads(int Tokens, int NumHeads, int NumKvHeads, int HeadDim, float[] Query, float[] Key, float[] Value)
{
    /// <summary>Reads layers.0, layers.1, ... of a file.</summary>
    /// <exception cref="InvalidDataException">The file has no such layer, or shapes that do not fit one another.</exception>
    public static IReadOnlyList<CapturedHeads> Read(string path)
    {
        using SafetensorsReader file = SafetensorsReader.Open(path);
        var layers = new List<CapturedHeads>();
        while (file.Tensors.ContainsKey($"layers.{layers.Count}.q"))
            layers.Add(ReadLayer(file, path, layers.Count));
        return layers.Count > 0 ? layers : throw new InvalidDataException($"{path} has no layers.0.q.");
    }

    private static CapturedHeads ReadLayer(SafetensorsReader file, string path, int number)
    {
        StoredTensor[] tensors = [.. ((string[])["q", "k", "v"]).Select(name => file.Tensors.GetValueOrDefault($"layers.{number}.{name}")
            ?? throw new InvalidDataException($"{path} has no layers.{number}.{name}."))];
        long[] query = tensors[0].Shape.ToArray(), key = tensors[1].Shape.ToArray(), value = tensors[2].Shape.ToArray();
        if (query.Length != 3 || key.Length != 3 || !key.SequenceEqual(value) || query[0] != key[0] || query[2] != key[2] || query.Any(size => size > 65536)
            || key[1] == 0 || query[1] % key[1] != 0)
        {
            throw new InvalidDataException(
                $"{path}: layer {number} must be [tokens, heads, headDim], its key and value [tokens, kvHeads, headDim], but they are "
                + $"{string.Join(", ", tensors.Select(tensor => tensor.FormatShape()))}.");
        }
        return new CapturedHeads(
            (int)query[0], (int)query[1], (int)key[1], (int)query[2], tensors[0].ReadSingles(), tensors[1].ReadSingles(), tensors[2].ReadSingles());
    }
}
