using System.Text.Json;

namespace KernelEngine.Models.Formats;

/// <summary>JSON files as formats define them: no comments, no trailing commas, no key twice.</summary>
internal static class StrictJson
{
    /// <summary>Parses the whole source.</summary>
    /// <exception cref="ModelFormatException">It is too long, or not JSON, or has a key twice.</exception>
    public static JsonDocument Parse(ByteSource source, int maxBytes, int maxDepth = 16)
    {
        byte[] bytes = source.ReadAll(maxBytes);
        try
        {
            return JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = maxDepth, AllowDuplicateProperties = false });
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(source.Name, $"The file is not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e) // met when keys are compared
        {
            throw new ModelFormatException(source.Name, "A key holds half of a surrogate pair.", e);
        }
    }

    /// <summary>The text of a string element; an unpaired surrogate in an escape is an error of the file.</summary>
    public static string GetString(ByteSource source, JsonElement element)
    {
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new ModelFormatException(source.Name, "A string holds half of a surrogate pair.", e);
        }
    }
}
