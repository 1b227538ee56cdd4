namespace KernelEngine.Models.Tokenizers;

/// <summary>Turns text into token ids and back. Safe for any number of threads.</summary>
public interface ITokenizer
{
    /// <summary>Tokens; ids are 0 .. VocabSize - 1.</summary>
    int VocabSize { get; }

    /// <summary>The token that begins a sequence, if there is one.</summary>
    int? BosTokenId { get; }

    /// <summary>The token that ends a sequence, if the tokenizer's file names one.</summary>
    int? EosTokenId { get; }

    /// <summary>The ids of a text. The text of a special token in it is ordinary text and never becomes that token.</summary>
    /// <param name="text">Any text; unpaired surrogates count as U+FFFD.</param>
    /// <param name="addSpecialTokens">True to add what the model expects around a text, as a rule the first token.</param>
    int[] Encode(string text, bool addSpecialTokens = true);

    /// <summary>
    /// Starts to turn a text into the ids that <see cref="Encode"/> gives, with what the model expects around it, piece by piece.
    /// </summary>
    TokenEncoder CreateEncoder();

    /// <summary>The bytes that a token stands for, in UTF-8 but perhaps not whole characters; none for a special token.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such token.</exception>
    ReadOnlySpan<byte> GetBytes(int id);

    /// <summary>Starts to turn ids into text one at a time, as they are generated.</summary>
    TokenDecoder CreateDecoder();

    /// <summary>The text of whole sequence.</summary>
    string Decode(ReadOnlySpan<int> ids);
}
