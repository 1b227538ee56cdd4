using System.Text;

namespace KernelEngine.Models.Tokenizers;

/// <summary>What <see cref="TokenEncoder"/> needs of a tokenizer to encode a text piece by piece.</summary>
internal interface IPieceEncoder
{
    /// <summary>What is done to the text before all else.</summary>
    IReadOnlyList<(string? Pattern, string Content)> Normalizer { get; }

    /// <summary>Tokens before a text.</summary>
    IReadOnlyList<int> Prefix { get; }

    /// <summary>Tokens after a text.</summary>
    IReadOnlyList<int> Suffix { get; }

    /// <summary>False when no token ever covers both of two neighbouring characters, so that a text may be cut between them.</summary>
    bool MayJoin(Rune left, Rune right);

    /// <summary>Appends the tokens of a normalised piece of text.</summary>
    void EncodePiece(ReadOnlySpan<char> text, List<int> ids);
}
