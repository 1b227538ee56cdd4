using System.Collections.Immutable;
using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>The fields of one JSON object, read with errors that name the file and the field. A null counts as absent.</summary>
internal sealed class JsonFields
{
    private readonly ByteSource _source;
    private readonly JsonElement _object;
    private readonly string _prefix;

    public JsonFields(ByteSource source, JsonElement element, string prefix)
    {
        (_source, _object, _prefix) = (source, element, prefix);
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw new ModelFormatException(
                source.Name, $"{(prefix.Length > 0 ? prefix.TrimEnd('.') : "The content")} must be an object.");
        }
    }

    public bool Has(string name) => Find(name) is not null;

    public JsonElement? Find(string name) =>
        _object.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public int GetSize(string name, int max, int? defaultValue = null)
    {
        if (Find(name) is not { } value)
            return defaultValue ?? throw Refuse(name, "is missing");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int size) && size >= 1 && size <= max
            ? size
            : throw Refuse(name, $"must be a whole number from 1 to {max} but is {Show(value)}");
    }

    public double GetNumber(string name, double? defaultValue = null)
    {
        if (Find(name) is not { } value)
            return defaultValue ?? throw Refuse(name, "is missing");
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw Refuse(name, $"must be a finite number but is {Show(value)}");
    }

    public bool GetFlag(string name, bool defaultValue) => Find(name)?.ValueKind switch
    {
        null => defaultValue,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Refuse(name, "must be true or false"),
    };

    public string GetString(string name, string? defaultValue = null)
    {
        if (Find(name) is not { } value)
            return defaultValue ?? throw Refuse(name, "is missing");
        return value.ValueKind == JsonValueKind.String
            ? StrictJson.GetString(_source, value)
            : throw Refuse(name, $"must be a string but is {Show(value)}");
    }

    public ImmutableArray<string> GetStrings(string name)
    {
        if (Find(name) is not { } value)
            throw Refuse(name, "is missing");
        if (value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Any(item => item.ValueKind != JsonValueKind.String))
            throw Refuse(name, "must be an array of strings");
        return [.. value.EnumerateArray().Select(item => StrictJson.GetString(_source, item))];
    }

    /// <summary>One token id or an array of them; empty when absent.</summary>
    public ImmutableArray<int> GetTokens(string name)
    {
        if (Find(name) is not { } value)
            return [];
        IEnumerable<JsonElement> items = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : [value];
        return [.. items.Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int id) && id >= 0
            ? id
            : throw Refuse(name, $"must hold token ids but holds {Show(item)}"))];
    }

    public JsonFields? GetObject(string name) =>
        Find(name) is { } value ? new JsonFields(_source, value, _prefix + name + ".") : null;

    public ModelFormatException Refuse(string name, string rule) => new(_source.Name, $"{_prefix}{name} {rule}.");

    private static string Show(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length <= 40 ? text : text[..40] + "…";
    }
}
