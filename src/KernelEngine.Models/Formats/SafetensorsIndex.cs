using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>The index of a model in several safetensors files: which file holds which tensor.</summary>
internal static class SafetensorsIndex
{
    private const int MaxBytes = 1 << 26;

    /// <summary>Reads the map from tensor name to file name; each file name is a plain name.</summary>
    public static Dictionary<string, string> Read(ByteSource source)
    {
        using JsonDocument document = StrictJson.Parse(source, MaxBytes);
        if (document.RootElement.ValueKind != JsonValueKind.Object
            || !document.RootElement.TryGetProperty("weight_map", out JsonElement map) || map.ValueKind != JsonValueKind.Object)
        {
            throw new ModelFormatException(source.Name, "The index must be an object with an object 'weight_map'.");
        }
        var weightMap = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty property in map.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw new ModelFormatException(source.Name, $"The file of tensor '{property.Name}' must be a string.");
            string file = StrictJson.GetString(source, property.Value);
            if (!IsPlainName(file))
                throw new ModelFormatException(source.Name, $"'{file}' must be the plain name of a file beside the index.");
            weightMap.Add(property.Name, file);
        }
        return weightMap;
    }

    private static bool IsPlainName(string name) =>
        name.Length is > 0 and <= 255 && name is not ("." or "..") && name.IndexOfAny(['/', '\\', ':', '\0']) < 0;
}
