using System.Collections.Frozen;
using System.Text;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// The tokenizer of a Hugging Face <c>tokenizer.json</c> with a byte-fallback BPE model, as Llama-2 style models have: the
/// text is normalised by replacements, split into characters, and neighbours merge in the order of the merge list. A file
/// that asks for anything else is refused by the name of the field.
/// </summary>
public sealed class HuggingFaceTokenizer : ITokenizer, IPieceEncoder
{
    private readonly HuggingFaceTokenizerFile _file;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _idsByText;

    private HuggingFaceTokenizer(HuggingFaceTokenizerFile file, int? bosTokenId, int? eosTokenId)
    {
        _file = file;
        _idsByText = file.TextIds.GetAlternateLookup<ReadOnlySpan<char>>();
        BosTokenId = bosTokenId;
        EosTokenId = eosTokenId;
    }

    /// <inheritdoc/>
    public int VocabSize => _file.Bytes.Length;

    /// <inheritdoc/>
    public int? BosTokenId { get; }

    /// <inheritdoc/>
    public int? EosTokenId { get; }

    /// <summary>Reads a tokenizer.</summary>
    /// <param name="source">The content of tokenizer.json.</param>
    /// <param name="eosTokenId">The token that ends a sequence, which the file does not name.</param>
    /// <exception cref="ModelFormatException">The file is malformed, or asks for what is not supported.</exception>
    public static HuggingFaceTokenizer Read(ByteSource source, int? eosTokenId = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        HuggingFaceTokenizerFile file = HuggingFaceTokenizerFile.Read(source);
        return new HuggingFaceTokenizer(file, file.Prefix is [int first, ..] ? first : null, eosTokenId);
    }

    /// <inheritdoc/>
    public int[] Encode(string text, bool addSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length + 2);
        if (addSpecialTokens)
            ids.AddRange(_file.Prefix);
        ((IPieceEncoder)this).EncodePiece(new TextNormalizer(_file.Normalizer).Append(text, isLast: true), ids);
        if (addSpecialTokens)
            ids.AddRange(_file.Suffix);
        return [.. ids];
    }

    /// <inheritdoc/>
    public TokenEncoder CreateEncoder() => new(this);

    /// <inheritdoc/>
    public ReadOnlySpan<byte> GetBytes(int id) => (uint)id < (uint)_file.Bytes.Length
        ? _file.Bytes[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"The tokenizer has tokens 0 to {_file.Bytes.Length - 1}.");

    /// <inheritdoc/>
    public TokenDecoder CreateDecoder() => new(this, _file.DropsLeadingSpace, dropsSpaceAfterBos: false);

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids) => CreateDecoder().DecodeAll(ids);

    IReadOnlyList<(string? Pattern, string Content)> IPieceEncoder.Normalizer => _file.Normalizer;

    IReadOnlyList<int> IPieceEncoder.Prefix => _file.Prefix;

    IReadOnlyList<int> IPieceEncoder.Suffix => _file.Suffix;

    // Characters outside the vocabulary become bytes or the unknown token, which as a rule merge with nothing; but neighbouring
    // unknown ones may be one token.
    bool IPieceEncoder.MayJoin(Rune left, Rune right)
    {
        bool isLeftKnown = IsKnown(left), isRightKnown = IsKnown(right);
        return isLeftKnown && isRightKnown
            ? _file.Joints.Contains((left, right))
            : _file.MergesFallbacks || isLeftKnown == isRightKnown;
    }

    void IPieceEncoder.EncodePiece(ReadOnlySpan<char> text, List<int> ids)
    {
        var symbols = new List<Symbol>(text.Length);
        Split(text, symbols);
        PairMerger.Merge(new Rule(_file.Merges), symbols);
        foreach (Symbol symbol in symbols)
            ids.Add(symbol.Id);
    }

    private bool IsKnown(Rune character)
    {
        Span<char> utf16 = stackalloc char[2];
        return _idsByText.ContainsKey(utf16[..character.EncodeToUtf16(utf16)]);
    }

    private void Split(ReadOnlySpan<char> text, List<Symbol> symbols)
    {
        Span<byte> utf8 = stackalloc byte[4];
        Span<char> utf16 = stackalloc char[2];
        bool lastIsUnknown = false;
        int start = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            ReadOnlySpan<char> character = utf16[..rune.EncodeToUtf16(utf16)];
            ReadOnlySpan<byte> bytes = utf8[..rune.EncodeToUtf8(utf8)];
            bool isUnknown = false;
            if (_idsByText.TryGetValue(character, out int id))
                symbols.Add(new Symbol(id, start, 1));
            else if (!TryAddBytes(bytes, start, symbols))
            {
                isUnknown = true;
                if (!lastIsUnknown || !_file.FusesUnknown)
                    symbols.Add(new Symbol(_file.UnknownId!.Value, start, 1));
            }
            lastIsUnknown = isUnknown;
            start++;
        }
    }

    private bool TryAddBytes(ReadOnlySpan<byte> bytes, int start, List<Symbol> symbols)
    {
        foreach (byte value in bytes)
        {
            if (_file.ByteIds[value] < 0)
                return false;
        }
        foreach (byte value in bytes)
            symbols.Add(new Symbol(_file.ByteIds[value], start, 1));
        return true;
    }

    private readonly struct Rule(FrozenDictionary<(int Left, int Right), (int Rank, int Id)> merges) : IMergeRule
    {
        public bool TryMerge(in Symbol left, in Symbol right, out int id, out float order)
        {
            bool isFound = merges.TryGetValue((left.Id, right.Id), out (int Rank, int Id) merge);
            (id, order) = (merge.Id, merge.Rank); // ranks stay below 2^24, which float32 holds exactly
            return isFound;
        }
    }
}
