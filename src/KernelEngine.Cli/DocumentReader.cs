namespace KernelEngine.Cli;

/// <summary>Reads the documents of a UTF-8 file in pieces, in memory that does not grow with them.</summary>
internal sealed class DocumentReader(
    Stream stream, string name, DocumentSeparator separator, int bufferBytes = DocumentReader.DefaultBuffer)
{
    private const int DefaultBuffer = 1 << 14;

    private readonly LineReader _lines = new(stream, name, bufferBytes);
    private long _line = 1; // the line that is being read
    private bool _isInDocument, _isLineEmpty = true, _isAtEnd;
    private string _break = ""; // between two lines of a document, until it is known that there is a second one
    private bool _hasText; // the text that was found after it comes next

    /// <summary>What one call of <see cref="Read"/> found.</summary>
    public enum Part
    {
        /// <summary>A piece of a document's text.</summary>
        Text,

        /// <summary>The end of a document.</summary>
        EndOfDocument,

        /// <summary>The end of the file.</summary>
        EndOfFile,
    }

    /// <summary>The piece of text that was found; good until the next call.</summary>
    public ReadOnlySpan<char> Text => _hasText ? _break : _lines.Text;

    /// <summary>The line, counted from 1, where the document began that text or an end was last found of.</summary>
    public long FirstLine { get; private set; } = 1;

    /// <summary>Bytes read so far.</summary>
    public long Position => _lines.Position;

    /// <summary>Finds the next piece of a document, or its end.</summary>
    /// <exception cref="IOException">The file cannot be read, or is no UTF-8.</exception>
    public Part Read()
    {
        if (_hasText)
        {
            (_hasText, _break) = (false, "");
            return Part.Text;
        }
        while (!_isAtEnd)
        {
            LineReader.Part part = _lines.Read();
            _isAtEnd = part == LineReader.Part.End;
            bool wasLineEmpty = _isLineEmpty;
            _isLineEmpty = part != LineReader.Part.Text;
            if (part == LineReader.Part.Text || separator == DocumentSeparator.File || (separator == DocumentSeparator.Line && !_isAtEnd))
                Begin();
            if (part == LineReader.Part.Break)
                _line++;
            switch (part)
            {
                case LineReader.Part.Text:
                    _hasText = _break.Length > 0;
                    return Part.Text;
                case LineReader.Part.Break when separator == DocumentSeparator.File:
                    return Part.Text;
                case LineReader.Part.Break when separator == DocumentSeparator.Blank && !wasLineEmpty:
                    _break = _lines.Text.ToString();
                    break;
                default:
                    if (!_isInDocument)
                        break;
                    (_isInDocument, _break) = (false, "");
                    return Part.EndOfDocument;
            }
        }
        return Part.EndOfFile;
    }

    private void Begin()
    {
        if (!_isInDocument)
            (_isInDocument, FirstLine) = (true, _line);
    }
}
