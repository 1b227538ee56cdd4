namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// The replacements that a tokenizer makes before it splits a text, one after another, on a text that comes in pieces: the
/// pieces together become what the whole text would.
/// </summary>
/// <param name="steps">Replacements in order; one without pattern puts its content before a text that is not empty.</param>
internal sealed class TextNormalizer(IReadOnlyList<(string? Pattern, string Content)> steps)
{
    private readonly string[] _held = [.. steps.Select(_ => "")]; // the end of what came, in which a match may begin
    private readonly bool[] _hasBegun = new bool[steps.Count];

    /// <summary>What is certain after one more piece; all that is left after the last one. Then a new text may begin.</summary>
    public string Append(string text, bool isLast)
    {
        for (int i = 0; i < steps.Count; i++)
        {
            if (steps[i].Pattern is { } pattern)
                text = Replace(i, pattern, _held[i] + text, isLast);
            else if (text.Length > 0 && !_hasBegun[i])
                (text, _hasBegun[i]) = (steps[i].Content + text, true);
        }
        if (isLast)
            Array.Clear(_hasBegun);
        return text;
    }

    private string Replace(int step, string pattern, string text, bool isLast)
    {
        int end = 0;
        for (int next; (next = text.IndexOf(pattern, end, StringComparison.Ordinal)) >= 0;)
            end = next + pattern.Length;
        end = isLast ? text.Length : Math.Max(end, text.Length - (pattern.Length - 1));
        _held[step] = text[end..];
        return text[..end].Replace(pattern, steps[step].Content, StringComparison.Ordinal);
    }
}
