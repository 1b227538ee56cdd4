using System.Globalization;

namespace KernelEngine;

/// <summary>Integer expressions of <see cref="PtxTemplate"/>: C's operators without assignment, names, parentheses.</summary>
internal ref struct PtxExpression
{
    private static readonly string[][] s_operators = [["||"], ["&&"], ["==", "!="], ["<=", ">=", "<", ">"], ["|"], ["^"], ["&"], ["<<", ">>"], ["+", "-"], ["*", "/"]];

    private readonly ReadOnlySpan<char> _text;
    private readonly IReadOnlyDictionary<string, string> _names;
    private int _position;

    private PtxExpression(ReadOnlySpan<char> text, IReadOnlyDictionary<string, string> names)
    {
        _text = text;
        _names = names;
    }

    /// <summary>Evaluates an expression.</summary>
    /// <exception cref="InvalidOperationException">It is malformed, or a name is unknown or no number.</exception>
    public static long Evaluate(string text, IReadOnlyDictionary<string, string> names)
    {
        var expression = new PtxExpression(text, names);
        long value = expression.Binary(0);
        expression.SkipSpace();
        return expression._position == text.Length ? value : throw expression.Error("something is left over");
    }

    private long Binary(int level)
    {
        if (level == s_operators.Length)
            return Unary();
        long left = Binary(level + 1);
        while (TryTakeOperator(level, out string op))
            left = Apply(op, left, Binary(level + 1));
        return left;
    }

    private long Unary()
    {
        SkipSpace();
        if (_position == _text.Length)
            throw Error("an operand is missing");
        char c = _text[_position];
        if (c is '-' or '!')
        {
            _position++;
            long operand = Unary();
            return c == '-' ? -operand : operand == 0 ? 1 : 0;
        }
        if (c == '(')
        {
            _position++;
            long value = Binary(0);
            SkipSpace();
            if (_position == _text.Length || _text[_position++] != ')')
                throw Error("a parenthesis is open");
            return value;
        }
        int start = _position;
        while (_position < _text.Length && (char.IsAsciiLetterOrDigit(_text[_position]) || _text[_position] is '_' or '%'))
            _position++;
        string word = _text[start.._position].ToString();
        if (word.Length > 0 && !char.IsAsciiDigit(word[0]))
            word = _names.TryGetValue(word, out string? value) ? value : throw Error($"'{word}' is unknown");
        return word.StartsWith("0x", StringComparison.Ordinal)
            && long.TryParse(word.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out long number)
            || long.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number)
            ? number : throw Error($"'{word}' is no number");
    }

    private bool TryTakeOperator(int level, out string op)
    {
        SkipSpace();
        ReadOnlySpan<char> rest = _text[_position..];
        foreach (string candidate in s_operators[level])
        {
            if (!rest.StartsWith(candidate) || (candidate.Length == 1 && rest.Length > 1 && IsLonger(candidate[0], rest[1])))
                continue;
            _position += candidate.Length;
            op = candidate;
            return true;
        }
        op = "";
        return false;
    }

    // '<' is not the beginning of '<<', nor '&' that of '&&'.
    private static bool IsLonger(char first, char second) => first is '<' or '>' or '&' or '|' && second == first;

    private static long Apply(string op, long a, long b) => op switch
    {
        "||" => a != 0 || b != 0 ? 1 : 0,
        "&&" => a != 0 && b != 0 ? 1 : 0,
        "==" => a == b ? 1 : 0,
        "!=" => a != b ? 1 : 0,
        "<=" => a <= b ? 1 : 0,
        ">=" => a >= b ? 1 : 0,
        "<" => a < b ? 1 : 0,
        ">" => a > b ? 1 : 0,
        "|" => a | b,
        "^" => a ^ b,
        "&" => a & b,
        "<<" => a << (int)b,
        ">>" => a >> (int)b,
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        _ => b != 0 ? a / b : throw new InvalidOperationException("A division by zero in a template of inline code."),
    };

    private void SkipSpace()
    {
        while (_position < _text.Length && char.IsWhiteSpace(_text[_position]))
            _position++;
    }

    private readonly InvalidOperationException Error(string what) => new($"In the expression '{_text}' of inline code {what}.");
}
