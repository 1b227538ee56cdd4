using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// The tokenizer of llama2.c (<c>tok512.bin</c>, <c>tokenizer.bin</c>): pieces with scores. A text becomes a space and its
/// characters (bytes where the vocabulary lacks a character); then the neighbours whose union has the best score merge.
/// </summary>
public sealed class LlamaTokenizer : ITokenizer, IPieceEncoder
{
    private const int MaxBytes = 1 << 28, MaxPieceBytes = 1 << 16, EntryBytes = 8;
    private const int UnknownId = 0, BosId = 1, EosId = 2, FirstByteId = 3, FirstPieceId = FirstByteId + 256;

    private readonly byte[] _file;
    private readonly List<Piece> _pieces;
    private readonly HashSet<int>.AlternateLookup<ReadOnlySpan<byte>> _idsByText;
    private readonly HashSet<(Rune Left, Rune Right)> _neighbours = []; // characters that stand side by side in some piece

    private LlamaTokenizer(byte[] file, List<Piece> pieces)
    {
        (_file, _pieces) = (file, pieces);
        // Control tokens and bytes are left out, so that no text can spell one.
        var ids = new HashSet<int>(pieces.Count, new PieceComparer(file, pieces));
        for (int id = FirstPieceId; id < pieces.Count; id++)
        {
            ids.Add(id); // of equal pieces the first counts
            AddNeighbours(file.AsSpan(pieces[id].Start, pieces[id].Length));
        }
        _idsByText = ids.GetAlternateLookup<ReadOnlySpan<byte>>();
    }

    /// <inheritdoc/>
    public int VocabSize => _pieces.Count;

    /// <inheritdoc/>
    public int? BosTokenId => BosId;

    /// <inheritdoc/>
    public int? EosTokenId => EosId;

    /// <summary>Reads a tokenizer.</summary>
    /// <param name="source">
    /// The file: int32 length of the longest piece; then per piece float32 score, int32 length, bytes.
    /// </param>
    /// <param name="vocabSize">Pieces, as the model has tokens: the file does not tell; null to read to its end.</param>
    /// <exception cref="ModelFormatException">The file breaks a rule of the format.</exception>
    public static LlamaTokenizer Read(ByteSource source, int? vocabSize = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        byte[] file = source.ReadAll(MaxBytes);
        if (file.Length < sizeof(int))
        {
            throw new ModelFormatException(
                source.Name, $"The file must have at least {sizeof(int)} bytes but has {file.Length}.");
        }
        int longest = BinaryPrimitives.ReadInt32LittleEndian(file);
        if (longest is < 1 or > MaxPieceBytes)
        {
            throw new ModelFormatException(
                source.Name, $"The longest piece must have 1 to {MaxPieceBytes} bytes but the file says {longest}.");
        }
        List<Piece> pieces = ReadPieces(source, file, longest, vocabSize);
        if (pieces.Count < FirstPieceId)
        {
            throw new ModelFormatException(
                source.Name, $"At least {FirstPieceId} pieces are needed (3 control tokens, 256 bytes) but"
                + $" there are {pieces.Count}.");
        }
        for (int value = 0; value < 256; value++)
        {
            Piece piece = pieces[FirstByteId + value];
            if (!file.AsSpan(piece.Start, piece.Length).SequenceEqual(Encoding.ASCII.GetBytes(FormatByte(value))))
                throw new ModelFormatException(source.Name, $"Piece {FirstByteId + value} must be {FormatByte(value)}.");
            file[piece.Start] = (byte)value; // from here on the piece is the byte that it stands for
            pieces[FirstByteId + value] = piece with { Length = 1 };
        }
        return new LlamaTokenizer(file, pieces);
    }

    /// <inheritdoc/>
    public int[] Encode(string text, bool addSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length + 2);
        if (addSpecialTokens)
            ids.Add(BosId);
        if (text.Length > 0)
            ((IPieceEncoder)this).EncodePiece(" " + text, ids);
        return [.. ids];
    }

    /// <inheritdoc/>
    public TokenEncoder CreateEncoder() => new(this);

    /// <inheritdoc/>
    public ReadOnlySpan<byte> GetBytes(int id)
    {
        if ((uint)id >= (uint)_pieces.Count)
            throw new ArgumentOutOfRangeException(nameof(id), id, $"The tokenizer has tokens 0 to {_pieces.Count - 1}.");
        return id is BosId or EosId ? default : _file.AsSpan(_pieces[id].Start, _pieces[id].Length);
    }

    /// <inheritdoc/>
    public TokenDecoder CreateDecoder() => new(this, dropsSpaceAtStart: false, dropsSpaceAfterBos: true);

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids) => CreateDecoder().DecodeAll(ids);

    IReadOnlyList<(string? Pattern, string Content)> IPieceEncoder.Normalizer { get; } = [(null, " ")];

    IReadOnlyList<int> IPieceEncoder.Prefix { get; } = [BosId];

    IReadOnlyList<int> IPieceEncoder.Suffix => [];

    bool IPieceEncoder.MayJoin(Rune left, Rune right) => _neighbours.Contains((left, right));

    void IPieceEncoder.EncodePiece(ReadOnlySpan<char> text, List<int> ids)
    {
        var utf8 = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, utf8);
        var symbols = new List<Symbol>(utf8.Length);
        int length;
        for (int start = 0; start < utf8.Length; start += length)
        {
            Rune.DecodeFromUtf8(utf8.AsSpan(start), out _, out length);
            if (_idsByText.TryGetValue(utf8.AsSpan(start, length), out int id))
            {
                symbols.Add(new Symbol(id, start, length));
                continue;
            }
            for (int i = start; i < start + length; i++)
                symbols.Add(new Symbol(FirstByteId + utf8[i], i, 1));
        }
        PairMerger.Merge(new Rule(this, utf8), symbols);
        foreach (Symbol symbol in symbols)
            ids.Add(symbol.Id);
    }

    private void AddNeighbours(ReadOnlySpan<byte> piece)
    {
        Rune.DecodeFromUtf8(piece, out Rune left, out int length);
        for (piece = piece[length..]; piece.Length > 0; piece = piece[length..])
        {
            Rune.DecodeFromUtf8(piece, out Rune right, out length);
            _neighbours.Add((left, right));
            left = right;
        }
    }

    private static List<Piece> ReadPieces(ByteSource source, byte[] file, int longest, int? vocabSize)
    {
        if (vocabSize is { } size && (size < 1 || size > (file.Length - sizeof(int)) / EntryBytes))
        {
            throw new ModelFormatException(
                source.Name, $"The model has {size} tokens, which a file of {file.Length} bytes cannot hold.");
        }
        var pieces = new List<Piece>();
        int position = sizeof(int);
        while (vocabSize is { } count ? pieces.Count < count : position < file.Length)
        {
            if (file.Length - position < EntryBytes)
                throw new ModelFormatException(source.Name, $"The file ends inside piece {pieces.Count}.");
            float score = BinaryPrimitives.ReadSingleLittleEndian(file.AsSpan(position));
            int length = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(position + sizeof(float)));
            position += EntryBytes;
            if (length < 0 || length > longest)
            {
                throw new ModelFormatException(
                    source.Name, $"Piece {pieces.Count} must have 0 to {longest} bytes but says {length}.");
            }
            if (length > file.Length - position)
                throw new ModelFormatException(source.Name, $"The file ends inside piece {pieces.Count}.");
            if (float.IsNaN(score))
                throw new ModelFormatException(source.Name, $"The score of piece {pieces.Count} is not a number.");
            pieces.Add(new Piece(position, length, score));
            position += length;
        }
        if (position != file.Length)
        {
            throw new ModelFormatException(
                source.Name, $"{file.Length - position} bytes follow the last of {pieces.Count} pieces.");
        }
        return pieces;
    }

    private static string FormatByte(int value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");

    private readonly record struct Piece(int Start, int Length, float Score);

    private readonly struct Rule(LlamaTokenizer tokenizer, byte[] text) : IMergeRule
    {
        public bool TryMerge(in Symbol left, in Symbol right, out int id, out float order)
        {
            (id, order) = (UnknownId, 0);
            if (left.Id < FirstPieceId || right.Id < FirstPieceId
                || !tokenizer._idsByText.TryGetValue(text.AsSpan(left.Start, left.Length + right.Length), out id))
            {
                return false;
            }
            order = -tokenizer._pieces[id].Score;
            return true;
        }
    }

    // Finds ids by the text of their pieces without a second copy of the text.
    private sealed class PieceComparer(byte[] file, List<Piece> pieces)
        : IEqualityComparer<int>, IAlternateEqualityComparer<ReadOnlySpan<byte>, int>
    {
        public bool Equals(int x, int y) => Text(x).SequenceEqual(Text(y));

        public int GetHashCode(int obj) => GetHashCode(Text(obj));

        public bool Equals(ReadOnlySpan<byte> alternate, int other) => alternate.SequenceEqual(Text(other));

        public int GetHashCode(ReadOnlySpan<byte> alternate)
        {
            var hash = new HashCode();
            hash.AddBytes(alternate);
            return hash.ToHashCode();
        }

        [ExcludeFromCodeCoverage(Justification = "The set is filled by id and read by text.")]
        public int Create(ReadOnlySpan<byte> alternate) => throw new NotSupportedException("Pieces are added by id.");

        private ReadOnlySpan<byte> Text(int id) => file.AsSpan(pieces[id].Start, pieces[id].Length);
    }
}
