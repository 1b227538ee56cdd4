using System.Buffers;
using System.Text;

namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// Turns a text that comes in pieces into tokens, in memory that does not grow with the text. How it is divided into pieces
/// changes nothing. The tokens are those of the whole text: it is cut only between two characters that no token covers
/// together, where merging cannot tell a cut from none. A stretch without such a place is cut every <see cref="MaxStretch"/>
/// UTF-16 units (of the normalised text), from its beginning on.
/// </summary>
public sealed class TokenEncoder
{
    /// <summary>Length of the longest stretch that is encoded as a whole.</summary>
    public const int MaxStretch = 1 << 16;

    private const int PieceLength = 4096; // about as much is encoded together

    private readonly IPieceEncoder _pieces;
    private readonly TextNormalizer _normalizer;
    private char[] _text = new char[2 * PieceLength]; // normalised and not yet encoded
    private int _length, _scanned, _stretch;
    private Rune _last; // the character before _scanned
    private bool _hasBegun;

    internal TokenEncoder(IPieceEncoder pieces) => (_pieces, _normalizer) = (pieces, new TextNormalizer(pieces.Normalizer));

    /// <summary>Takes the next piece of the text and adds the tokens that are certain.</summary>
    public void Append(ReadOnlySpan<char> text, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        Take(text, ids, isLast: false);
    }

    /// <summary>Ends the text and adds its last tokens. The next piece begins a new text.</summary>
    public void Finish(List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        Take([], ids, isLast: true);
        ids.AddRange(_pieces.Suffix);
        _hasBegun = false;
    }

    private void Take(ReadOnlySpan<char> text, List<int> ids, bool isLast)
    {
        if (!_hasBegun)
            ids.AddRange(_pieces.Prefix);
        _hasBegun = true;
        string added = _normalizer.Append(text.ToString(), isLast);
        if (_length + added.Length > _text.Length)
            Array.Resize(ref _text, Math.Max(_length + added.Length, 2 * _text.Length));
        added.CopyTo(_text.AsSpan(_length));
        _length += added.Length;
        int start = EncodeToLastCut(ids, isLast);
        if (isLast && start < _length)
            _pieces.EncodePiece(_text.AsSpan(start, _length - start), ids);
        if (isLast)
            start = _scanned = _stretch = _length;
        _text.AsSpan(start, _length - start).CopyTo(_text);
        (_length, _scanned, _stretch) = (_length - start, _scanned - start, _stretch - start);
    }

    // Where the text begins that is left to encode.
    private int EncodeToLastCut(List<int> ids, bool isLast)
    {
        int start = 0;
        while (_scanned < _length)
        {
            ReadOnlySpan<char> rest = _text.AsSpan(_scanned, _length - _scanned);
            OperationStatus status = Rune.DecodeFromUtf16(rest, out Rune next, out int length);
            if (status == OperationStatus.NeedMoreData && !isLast)
                break; // the other half of the character comes with the next piece
            bool isPlaceToCut = _scanned > start && !_pieces.MayJoin(_last, next);
            if (isPlaceToCut)
                _stretch = _scanned;
            if (isPlaceToCut ? _scanned - start >= PieceLength : _scanned - _stretch >= MaxStretch)
            {
                _pieces.EncodePiece(_text.AsSpan(start, _scanned - start), ids);
                start = _stretch = _scanned;
            }
            (_last, _scanned) = (next, _scanned + length);
        }
        return start;
    }
}
