using System.Globalization;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Cuts PTX text into tokens; comments and the lines of debug directives are dropped.</summary>
internal static class PtxLexer
{
    public static List<PtxToken> Tokenize(string text)
    {
        var tokens = new List<PtxToken>();
        int line = 1;
        int at = 0;
        while (at < text.Length)
        {
            char c = text[at];
            if (c == '\n')
            {
                line++;
                at++;
            }
            else if (char.IsWhiteSpace(c))
            {
                at++;
            }
            else if (c == '/' && Next(text, at) == '/')
            {
                at = EndOfLine(text, at);
            }
            else if (c == '/' && Next(text, at) == '*')
            {
                int end = text.IndexOf("*/", at + 2, StringComparison.Ordinal);
                if (end < 0)
                    throw new PtxSyntaxException(line, "/*", "a comment without an end");
                line += text.AsSpan(at, end - at).Count('\n');
                at = end + 2;
            }
            else if (c == '"')
            {
                int end = text.IndexOf('"', at + 1);
                if (end < 0)
                    throw new PtxSyntaxException(line, "\"", "a string without an end");
                tokens.Add(new PtxToken(PtxTokenKind.Text, text[at..(end + 1)], 0, line));
                at = end + 1;
            }
            else if (char.IsAsciiDigit(c))
            {
                int end = EndOfNumber(text, at);
                tokens.Add(Number(text[at..end], line));
                at = end;
            }
            else if (IsWordStart(c))
            {
                int end = EndOfWord(text, at);
                string word = text[at..end];
                if (word is ".loc" or ".file")
                {
                    at = EndOfLine(text, at);
                    continue;
                }
                tokens.Add(new PtxToken(PtxTokenKind.Word, word, 0, line));
                at = end;
            }
            else
            {
                tokens.Add(new PtxToken(PtxTokenKind.Mark, c.ToString(), 0, line));
                at++;
            }
        }
        return tokens;
    }

    private static char Next(string text, int at) => at + 1 < text.Length ? text[at + 1] : '\0';

    private static int EndOfLine(string text, int at)
    {
        int end = text.IndexOf('\n', at);
        return end < 0 ? text.Length : end;
    }

    private static bool IsWordStart(char c) => char.IsAsciiLetter(c) || c is '_' or '$' or '%' or '.';

    // A pair of colons belongs to a modifier such as shared::cta; a single one ends a label.
    private static int EndOfWord(string text, int at)
    {
        int end = at + 1;
        while (end < text.Length)
        {
            if (IsWordStart(text[end]) || char.IsAsciiDigit(text[end]))
                end++;
            else if (text[end] == ':' && Next(text, end) == ':')
                end += 2;
            else
                break;
        }
        return end;
    }

    private static int EndOfNumber(string text, int at)
    {
        int end = at + 1;
        while (end < text.Length && (char.IsAsciiLetterOrDigit(text[end]) || text[end] == '.' || IsExponentSign(text, at, end)))
            end++;
        return end;
    }

    private static bool IsExponentSign(string text, int start, int at) =>
        text[at] is '+' or '-' && text[at - 1] is 'e' or 'E' && text[at] is '+' or '-'
        && text.AsSpan(start, at - start).Contains('.') && !text.AsSpan(start, at - start).Contains('x');

    private static PtxToken Number(string text, int line)
    {
        string digits = text.TrimEnd('U', 'u');
        if (text.StartsWith("0f", StringComparison.OrdinalIgnoreCase) && TryHex(text[2..], out ulong single) && text.Length == 10)
            return new PtxToken(PtxTokenKind.Single, text, single, line);
        if (text.StartsWith("0d", StringComparison.OrdinalIgnoreCase) && TryHex(text[2..], out ulong wide) && text.Length == 18)
            return new PtxToken(PtxTokenKind.Double, text, wide, line);
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) && TryHex(digits[2..], out ulong hex))
            return new PtxToken(PtxTokenKind.Integer, text, hex, line);
        if (text.Contains('.') && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double real))
            return new PtxToken(PtxTokenKind.Double, text, BitConverter.DoubleToUInt64Bits(real), line);
        if (ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong integer)
            && (digits.Length == 1 || digits[0] != '0'))
        {
            return new PtxToken(PtxTokenKind.Integer, text, integer, line);
        }
        throw new PtxSyntaxException(line, text, "not a number of PTX");
    }

    private static bool TryHex(string digits, out ulong value) =>
        ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
