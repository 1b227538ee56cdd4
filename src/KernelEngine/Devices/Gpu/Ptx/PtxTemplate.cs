using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace KernelEngine;

/// <summary>
/// Unrolls inline code. ILGPU takes constant strings alone and unrolls no loop, and tensor-core code is made of long runs of
/// instructions whose register numbers follow a rule. The rule is written in the string; this pass writes the instructions:
/// <code>
/// $let NAME value               a number (an expression), or a word; an operand of Emit that is a constant counts as one
/// $for NAME from to ... $end    the lines between, NAME running from 'from' to 'to' − 1
/// $if expression ... $else ... $end
/// $(expression)                 its value, or the word that a name stands for
/// $list(prefix, first, count)   prefix0, prefix1, ...: registers with consecutive numbers; the prefix may be a name's word
/// $pick(expression, a, b)       a when the expression is not zero, else b
/// </code>
/// A directive stands on a line of its own. Names are known from their line to the end of the function; PARAMETERS is the
/// entry's parameter.
/// </summary>
internal sealed partial class PtxTemplate
{
    private readonly Dictionary<string, string> _names = [];
    private readonly StringBuilder _result = new();
    private readonly string[] _lines;
    private int _line;

    private PtxTemplate(string[] lines) => _lines = lines;

    /// <summary>Unrolls every template of a module.</summary>
    /// <exception cref="InvalidOperationException">A directive is malformed.</exception>
    public static string Expand(string text, string parameterName)
    {
        var template = new PtxTemplate(text.Split('\n'));
        template._names["PARAMETERS"] = parameterName;
        foreach ((string register, string value) in Constants(text))
            template._names[register] = value;
        template.Run(write: true, nested: false);
        return template._result.ToString();
    }

    // Registers that are written once, with a constant. (Those that merge two paths are written twice.)
    private static Dictionary<string, string> Constants(string text)
    {
        var constants = new Dictionary<string, string>();
        var others = new HashSet<string>();
        foreach (Match match in ConstantMove().Matches(text))
        {
            string register = match.Groups[1].Value, value = match.Groups[2].Value;
            if (!long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _)
                || (constants.TryGetValue(register, out string? known) && known != value))
                others.Add(register);
            constants[register] = value;
        }
        foreach (string register in others)
            constants.Remove(register);
        return constants;
    }

    // Runs to the $end or $else of this level, which it leaves to the caller, or to the end of the text.
    private void Run(bool write, bool nested)
    {
        for (; _line < _lines.Length; _line++)
        {
            string line = _lines[_line];
            string[] words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            switch (words.FirstOrDefault())
            {
                case "$let":
                    if (write)
                        Define(words);
                    break;
                case "$for":
                    Loop(words, write);
                    break;
                case "$if":
                    Branch(line[(line.IndexOf("$if", StringComparison.Ordinal) + 3)..], write);
                    break;
                case "$end" or "$else":
                    if (nested)
                        return;
                    throw Error("has no beginning");
                default:
                    if (write)
                        _result.Append(Substitute(line)).Append('\n');
                    break;
            }
        }
        if (nested)
            throw new InvalidOperationException("A $for or $if of inline code has no $end.");
    }

    private void Define(string[] words)
    {
        if (words.Length < 3)
            throw Error("needs a name and a value");
        string value = Substitute(string.Join(' ', words[2..]));
        _names[words[1]] = Word().IsMatch(value) && !_names.ContainsKey(value)
            ? value : PtxExpression.Evaluate(value, _names).ToString(CultureInfo.InvariantCulture);
    }

    private void Loop(string[] words, bool write)
    {
        if (words.Length != 4)
            throw Error("needs a name and two bounds without spaces");
        int body = _line + 1;
        long from = write ? Value(words[2]) : 0, to = write ? Value(words[3]) : 0;
        bool any = false;
        for (long i = from; i < to; i++, any = true)
        {
            _names[words[1]] = i.ToString(CultureInfo.InvariantCulture);
            _line = body;
            Run(write: true, nested: true);
        }
        if (!any)
        {
            _line = body;
            Run(write: false, nested: true);
        }
        _names.Remove(words[1]);
    }

    private void Branch(string condition, bool write)
    {
        bool isTrue = write && Value(condition.Trim()) != 0;
        _line++;
        Run(write && isTrue, nested: true);
        if (_lines[_line].Trim() != "$else")
            return;
        _line++;
        Run(write && !isTrue, nested: true);
    }

    private long Value(string expression) => PtxExpression.Evaluate(expression, _names);

    private string Substitute(string line)
    {
        int at = line.IndexOf('$', StringComparison.Ordinal);
        if (at < 0)
            return line;
        var result = new StringBuilder();
        int copied = 0;
        for (; at >= 0; at = line.IndexOf('$', at + 1))
        {
            string kind = line.AsSpan(at).StartsWith("$(") ? "$(" : line.AsSpan(at).StartsWith("$list(") ? "$list("
                : line.AsSpan(at).StartsWith("$pick(") ? "$pick(" : "";
            if (kind == "" || at < copied)
                continue;
            int open = at + kind.Length, close = Close(line, open);
            result.Append(line, copied, at - copied).Append(Insertion(kind, line[open..close]));
            copied = close + 1;
        }
        return result.Append(line, copied, line.Length - copied).ToString();
    }

    private string Insertion(string kind, string inside)
    {
        if (kind == "$(")
        {
            return _names.TryGetValue(inside.Trim(), out string? word) ? word : Value(inside).ToString(CultureInfo.InvariantCulture);
        }
        string[] parts = inside.Split(',');
        if (parts.Length != 3)
            throw Error($"{kind}...) takes three parts");
        if (kind == "$pick(")
            return Substitute(parts[Value(parts[0]) != 0 ? 1 : 2].Trim());
        string prefix = parts[0].Trim();
        prefix = _names.GetValueOrDefault(prefix, prefix);
        long first = Value(parts[1]);
        return string.Join(", ", Enumerable.Range(0, checked((int)Value(parts[2]))).Select(i => $"{prefix}{first + i}"));
    }

    private int Close(string line, int open)
    {
        for (int i = open, depth = 1; i < line.Length; i++)
        {
            depth += line[i] == '(' ? 1 : line[i] == ')' ? -1 : 0;
            if (depth == 0)
                return i;
        }
        throw Error("has an open parenthesis");
    }

    private InvalidOperationException Error(string what) => new($"The line '{_lines[_line].Trim()}' of inline code {what}.");

    [GeneratedRegex(@"^\s*mov\.[bus](?:16|32|64)\s+(%\w+),\s*([^;]+);", RegexOptions.Multiline)]
    private static partial Regex ConstantMove();

    [GeneratedRegex(@"^[A-Za-z_]\w*$")]
    private static partial Regex Word();
}
