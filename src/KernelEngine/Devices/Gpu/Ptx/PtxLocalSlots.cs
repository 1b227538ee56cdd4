using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace KernelEngine;

/// <summary>
/// ILGPU passes operands of inline code through slots of local memory, and the assembler leaves them there once there are
/// loops or barriers. Each slot becomes a register.
/// </summary>
internal static partial class PtxLocalSlots
{
    /// <summary>Replaces loads and stores of slots by moves.</summary>
    /// <exception cref="InvalidOperationException">Local memory is used in another way, an array for example: it would be slow.</exception>
    public static string Promote(string text)
    {
        var pointers = new Dictionary<string, string>();
        foreach (Match match in Pointer().Matches(text))
            pointers.Add(match.Groups[1].Value, match.Groups[2].Value);
        if (pointers.Count == 0)
            return text;
        var registers = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var slots = new HashSet<(string Register, string Depot, int From, int To)>();
        var result = new StringBuilder(text.Length);
        foreach (string line in text.Split('\n'))
        {
            if (Pointer().IsMatch(line) || Depot().IsMatch(line))
                continue;
            if (Access().Match(line) is { Success: true } access && pointers.TryGetValue(access.Groups["pointer"].Value, out string? depot))
            {
                string type = access.Groups["type"].Value, width = type[1..];
                int offset = access.Groups["offset"] is { Success: true, Value: var digits } ? int.Parse(digits, CultureInfo.InvariantCulture) : 0;
                string register = $"%slot_{depot}_{offset}";
                if (registers.TryGetValue(register, out string? known) && known != width)
                    throw new InvalidOperationException($"Slot {register} is used as .b{known} and .b{width}: {line.Trim()}");
                registers[register] = width;
                // Two registers for bytes that overlap would not see each other's stores.
                int end = offset + int.Parse(width, CultureInfo.InvariantCulture) / 8;
                foreach ((string other, _, int from, int to) in slots.Where(slot => slot.Register != register && slot.Depot == depot))
                {
                    if (from < end && offset < to)
                        throw new InvalidOperationException($"Slots {other} and {register} overlap: {line.Trim()}");
                }
                slots.Add((register, depot, offset, end));
                string guard = access.Groups["guard"].Value, value = access.Groups["value"].Value;
                // A move of untyped bits takes integer and float registers alike.
                result.Append(access.Groups["op"].Value == "ld"
                    ? $"\t{guard}mov.b{width}\t{value}, {register};\n" : $"\t{guard}mov.b{width}\t{register}, {value};\n");
                continue;
            }
            if (pointers.Keys.Any(pointer => Regex.IsMatch(line, Regex.Escape(pointer) + @"(?!\d)")))
                throw new InvalidOperationException($"An array or struct stays in local memory: {line.Trim()}");
            result.Append(line).Append('\n');
        }
        string declarations = string.Concat(registers.Select(pair => $"\t.reg .b{pair.Value}\t{pair.Key};\n"));
        text = result.ToString();
        return text.Insert(text.IndexOf('{', text.IndexOf(".entry", StringComparison.Ordinal)) + 2, declarations);
    }

    [GeneratedRegex(@"^\s*mov\.b64\s+(%\w+),\s*__local_depot(\d+);\s*$", RegexOptions.Multiline)]
    private static partial Regex Pointer();

    [GeneratedRegex(@"^\s*\.local\s.*$")]
    private static partial Regex Depot();

    [GeneratedRegex(
        @"^\s*(?<guard>@!?%\w+\s+)?(?<op>ld|st)\.local\.(?<type>[bfsu]\d+)\s+(?:(?<value>%\w+),\s*\[(?<pointer>%\w+)(?:\+(?<offset>\d+))?\]|\[(?<pointer>%\w+)(?:\+(?<offset>\d+))?\],\s*(?<value>[^;]+));\s*$")]
    private static partial Regex Access();
}
