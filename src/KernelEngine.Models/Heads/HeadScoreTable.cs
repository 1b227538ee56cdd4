using System.Globalization;
using System.Text;
using System.Text.Unicode;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Heads;

/// <summary>
/// Reads head scores in the two forms they are published in, numbers with tabs between them: a row a layer and a column a head, or,
/// below the names <c>layer</c>, <c>kv_head</c> and the measure's, a row a head with its two indices before the number, in order.
/// </summary>
internal static class HeadScoreTable
{
    private const int MaxBytes = 1 << 26;

    public static HeadScores Read(ByteSource source)
    {
        byte[] bytes = source.ReadAll(MaxBytes);
        if (!Utf8.IsValid(bytes))
            throw new ModelFormatException(source.Name, "The file must be valid UTF-8.");
        string[] lines = Encoding.UTF8.GetString(bytes).TrimEnd('\r', '\n').ReplaceLineEndings("\n").Split('\n');
        return lines[0].StartsWith("layer\t", StringComparison.Ordinal) ? ReadList(source, lines) : ReadMatrix(source, lines);
    }

    private static HeadScores ReadMatrix(ByteSource source, string[] lines)
    {
        int columns = lines[0].Split('\t').Length;
        HeadScores scores = Create(source, lines.Length, columns);
        for (int layer = 0; layer < lines.Length; layer++)
        {
            string[] fields = lines[layer].Split('\t');
            if (fields.Length != columns)
                throw Refuse(source, layer, $"must have {columns} numbers as the first line but has {fields.Length}");
            for (int head = 0; head < columns; head++)
                scores[layer, head] = ReadNumber(source, layer, fields[head]);
        }
        return scores;
    }

    private static HeadScores ReadList(ByteSource source, string[] lines)
    {
        if (lines.Length == 1)
            throw new ModelFormatException(source.Name, "There is no head below the column names.");
        string[] last = Fields(source, lines, lines.Length - 1);
        long numLayers = ReadIndex(source, lines.Length - 1, last[0]) + 1L, numHeads = ReadIndex(source, lines.Length - 1, last[1]) + 1L;
        if (numLayers * numHeads != lines.Length - 1)
        {
            throw new ModelFormatException(
                source.Name, $"The last line makes {numLayers} layers of {numHeads} heads but there are {lines.Length - 1} heads.");
        }
        HeadScores scores = Create(source, numLayers, numHeads);
        for (int i = 1; i < lines.Length; i++)
        {
            string[] fields = Fields(source, lines, i);
            int layer = (i - 1) / (int)numHeads, head = (i - 1) % (int)numHeads;
            if (ReadIndex(source, i, fields[0]) != layer || ReadIndex(source, i, fields[1]) != head)
                throw Refuse(source, i, $"must be layer {layer}, head {head} but is {Shorten(fields[0])}, {Shorten(fields[1])}");
            scores[layer, head] = ReadNumber(source, i, fields[2]);
        }
        return scores;
    }

    private static string[] Fields(ByteSource source, string[] lines, int line) => lines[line].Split('\t') is { Length: 3 } fields
        ? fields
        : throw Refuse(source, line, "must have three fields: layer, head, score");

    private static HeadScores Create(ByteSource source, long numLayers, long numHeads) =>
        numLayers <= ModelDescription.MaxLayers && numHeads <= ModelDescription.MaxHiddenSize
            ? new HeadScores((int)numLayers, (int)numHeads)
            : throw new ModelFormatException(
                source.Name,
                $"A model has at most {ModelDescription.MaxLayers} layers of {ModelDescription.MaxHiddenSize} heads "
                + $"but the table has {numLayers} of {numHeads}.");

    private static int ReadIndex(ByteSource source, int line, string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            ? index
            : throw Refuse(source, line, $"must begin with two whole numbers but holds '{Shorten(text)}'");

    private static double ReadNumber(ByteSource source, int line, string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number)
            ? number
            : throw Refuse(source, line, $"must hold finite numbers but holds '{Shorten(text)}'");

    private static ModelFormatException Refuse(ByteSource source, int line, string rule) => new(source.Name, $"Line {line + 1} {rule}.");

    private static string Shorten(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
