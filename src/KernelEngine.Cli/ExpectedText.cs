using System.Text.Json;

namespace KernelEngine.Cli;

/// <summary>The tokens that a float64 computation continues a prompt with.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="PromptIds">The prompt's tokens.</param>
/// <param name="Ids">The prompt's and the generated tokens.</param>
/// <param name="HasEnded">True when a stop token ended the text, false when its length did.</param>
internal sealed record ExpectedText(string Prompt, int[] PromptIds, int[] Ids, bool HasEnded)
{
    public const string FileName = "expected_greedy.json";

    /// <summary>The prompts that a file has texts for.</summary>
    public static string[] Prompts(string path) => [.. Read(path).Select(text => text.Prompt)];

    /// <summary>The text for a prompt, or null when the file has none.</summary>
    /// <exception cref="IOException">The file is not there or of another format.</exception>
    public static ExpectedText? Find(string path, string prompt) => Read(path).Find(text => text.Prompt == prompt);

    /// <summary>Null when the tokens are the expected ones as far as those go, else a sentence that says where they differ.</summary>
    public string? FindDifference(ReadOnlySpan<int> prompt, List<int> generated, int maxTokens)
    {
        if (!prompt.SequenceEqual(PromptIds))
            return $"the prompt's tokens are {string.Join(' ', prompt.ToArray())} but the reference's {string.Join(' ', PromptIds)}";
        ReadOnlySpan<int> expected = Ids.AsSpan(PromptIds.Length);
        for (int i = 0; i < Math.Min(expected.Length, generated.Count); i++)
        {
            if (generated[i] != expected[i])
                return $"new token {i} is {generated[i]} but the reference's is {expected[i]}";
        }
        int wanted = Math.Min(expected.Length, maxTokens);
        if (generated.Count < wanted)
            return $"the text ends after {generated.Count} new tokens but the reference's after {wanted}";
        return HasEnded && generated.Count > expected.Length ? $"the text goes on after new token {expected.Length}, where the reference's ends" : null;
    }

    private static List<ExpectedText> Read(string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            return [.. document.RootElement.GetProperty("cases").EnumerateArray().Select(text => new ExpectedText(
                text.GetProperty("prompt").GetString() ?? "", ReadIds(text, "prompt_ids"), ReadIds(text, "ids"),
                text.GetProperty("stopped_on").ValueKind != JsonValueKind.Null))];
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new IOException($"'{path}' does not hold expected texts: {e.Message}", e);
        }
    }

    private static int[] ReadIds(JsonElement text, string name) => [.. text.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];
}
