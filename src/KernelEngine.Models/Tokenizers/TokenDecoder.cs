using System.Text;

namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// Turns ids into text one at a time. A token may end inside a character: its bytes wait until the character is whole.
/// Bytes that are no UTF-8 become U+FFFD.
/// </summary>
public sealed class TokenDecoder
{
    private readonly ITokenizer _tokenizer;
    private readonly Decoder _utf8 = Encoding.UTF8.GetDecoder();
    private readonly bool _dropsSpaceAfterBos;
    private bool _dropsNextSpace;
    private char[] _buffer = new char[64];

    // One leading space belongs to the encoding, not to the text: at the very start, or after the token that begins a sequence.
    internal TokenDecoder(ITokenizer tokenizer, bool dropsSpaceAtStart, bool dropsSpaceAfterBos) =>
        (_tokenizer, _dropsNextSpace, _dropsSpaceAfterBos) = (tokenizer, dropsSpaceAtStart, dropsSpaceAfterBos);

    /// <summary>The characters that are whole once <paramref name="id"/> is appended; valid until the next call.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such token.</exception>
    public ReadOnlySpan<char> Append(int id)
    {
        ReadOnlySpan<byte> bytes = _tokenizer.GetBytes(id);
        if (_dropsSpaceAfterBos && id == _tokenizer.BosTokenId)
            _dropsNextSpace = true;
        if (_dropsNextSpace && bytes.Length > 0)
        {
            _dropsNextSpace = false;
            if (bytes[0] == (byte)' ')
                bytes = bytes[1..];
        }
        return Convert(bytes, flush: false);
    }

    /// <summary>Ends the text: U+FFFD for a character that was never completed, else nothing.</summary>
    public ReadOnlySpan<char> Flush() => Convert(default, flush: true);

    internal string DecodeAll(ReadOnlySpan<int> ids)
    {
        var text = new StringBuilder();
        foreach (int id in ids)
            text.Append(Append(id));
        return text.Append(Flush()).ToString();
    }

    private ReadOnlySpan<char> Convert(ReadOnlySpan<byte> bytes, bool flush)
    {
        int needed = Encoding.UTF8.GetMaxCharCount(bytes.Length);
        if (_buffer.Length < needed)
            _buffer = new char[needed];
        return _buffer.AsSpan(0, _utf8.GetChars(bytes, _buffer, flush));
    }
}
