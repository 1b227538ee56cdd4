using System.Buffers;
using System.Globalization;
using System.Text.Unicode;

namespace KernelEngine.Cli;

/// <summary>
/// Reads a UTF-8 file as pieces of lines and line breaks (\n or \r\n), in memory that does not grow with the file or its lines. A
/// byte-order mark at the beginning is left out.
/// </summary>
internal sealed class LineReader(Stream stream, string name, int bufferBytes)
{
    private const int MaxCharacterBytes = 4;
    private const char ByteOrderMark = '\uFEFF';

    private readonly byte[] _bytes = new byte[bufferBytes + MaxCharacterBytes];
    private readonly char[] _chars = new char[bufferBytes + MaxCharacterBytes + 1];
    private int _held; // first bytes of a character whose last are not read yet
    private long _decoded; // bytes of the file before those
    private int _at, _end; // characters that are not handed out yet
    private bool _isAtEnd;
    private string? _error; // thrown when all before it has been handed out
    private int _textAt, _textLength;

    /// <summary>What one call of <see cref="Read"/> found.</summary>
    public enum Part
    {
        /// <summary>A piece of a line.</summary>
        Text,

        /// <summary>A line break.</summary>
        Break,

        /// <summary>The end of the file.</summary>
        End,
    }

    /// <summary>The characters that were found; good until the next call.</summary>
    public ReadOnlySpan<char> Text => _chars.AsSpan(_textAt, _textLength);

    /// <summary>Bytes read so far.</summary>
    public long Position => _decoded + _held;

    /// <summary>Finds the next piece of a line, or its break.</summary>
    /// <exception cref="IOException">The file cannot be read, or is no UTF-8.</exception>
    public Part Read()
    {
        while (true)
        {
            ReadOnlySpan<char> rest = _chars.AsSpan(_at, _end - _at);
            int end = rest.IndexOf('\n');
            if (end >= 0)
            {
                int text = end > 0 && rest[end - 1] == '\r' ? end - 1 : end;
                return text > 0 ? Take(text, Part.Text) : Take(end + 1, Part.Break);
            }
            // What follows a \r decides whether it is part of a line break.
            int length = rest is [.., '\r'] && !_isAtEnd ? rest.Length - 1 : rest.Length;
            if (length > 0)
                return Take(length, Part.Text);
            if (_isAtEnd)
                return Part.End;
            Fill();
        }
    }

    private Part Take(int length, Part part)
    {
        (_textAt, _textLength, _at) = (_at, length, _at + length);
        return part;
    }

    private void Fill()
    {
        if (_error is not null)
            throw new IOException(_error);
        _chars.AsSpan(_at, _end - _at).CopyTo(_chars);
        (_at, _end) = (0, _end - _at);
        int read = stream.Read(_bytes, _held, bufferBytes);
        _isAtEnd = read == 0;
        Span<byte> bytes = _bytes.AsSpan(0, _held + read);
        OperationStatus status = Utf8.ToUtf16(
            bytes, _chars.AsSpan(_end), out int used, out int written, replaceInvalidSequences: false, isFinalBlock: _isAtEnd);
        if (status == OperationStatus.InvalidData)
        {
            _error = string.Create(
                CultureInfo.InvariantCulture,
                $"'{name}' is not UTF-8: byte 0x{bytes[used]:X2} at offset {_decoded + used} begins no character.");
            _isAtEnd = false; // the error comes first
        }
        if (_decoded == 0 && written > 0 && _chars[_end] == ByteOrderMark)
            _chars.AsSpan(_end + 1, --written).CopyTo(_chars.AsSpan(_end));
        _decoded += used;
        _held = bytes.Length - used;
        bytes[used..].CopyTo(_bytes);
        _end += written;
    }
}
