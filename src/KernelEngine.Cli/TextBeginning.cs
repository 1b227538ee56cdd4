using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Cli;

/// <summary>Reads as much of a text file as a model can take.</summary>
internal static class TextBeginning
{
    private const int MaxCharactersPerToken = 32;

    /// <summary>The first tokens of a file, at most so many; no more of the file is read than that can need.</summary>
    public static int[] ReadTokens(string path, ITokenizer tokenizer, int maxTokens, bool addSpecialTokens)
    {
        using var reader = new StreamReader(path);
        var text = new char[(long)maxTokens * MaxCharactersPerToken];
        int[] tokens = tokenizer.Encode(new string(text, 0, reader.ReadBlock(text)), addSpecialTokens);
        return tokens.Length <= maxTokens ? tokens : tokens[..maxTokens];
    }
}
