using System.Globalization;
using KernelEngine.Models.Scoring;

namespace KernelEngine.Cli;

/// <summary>Writes scores as they come: a line a document, then the total, as columns or as one JSON object.</summary>
internal sealed class ScoreWriter
{
    private readonly Terminal _terminal;
    private readonly bool _isJson;
    private long _documents;
    private TextScore _total;
    private TextScore? _againstTotal;

    public ScoreWriter(Terminal terminal, ScoreRequest request, int stride)
    {
        (_terminal, _isJson) = (terminal, request.IsJson);
        if (request.AgainstPath is not null)
            _againstTotal = default(TextScore);
        if (_isJson)
        {
            string head = Json.ToLine(new
            {
                model = request.ModelPath,
                against = request.AgainstPath,
                by = request.Separator.ToString().ToLowerInvariant(),
                stride,
            });
            _terminal.WriteLine($"{head[..^1]},\"documents\":[");
            return;
        }
        string second = request.AgainstPath is null ? "" : Columns("nats/token 2", "difference");
        _terminal.WriteLine(Columns("tokens", "nats", "nats/token", "perplexity", "bits/byte") + second + "  document");
    }

    public void Write(ScoredDocument document)
    {
        _total += document.Score;
        _againstTotal += document.Against;
        if (_isJson)
            _terminal.WriteLine((_documents > 0 ? "," : "") + Json.ToLine(ToJson(document)));
        else
            WriteColumns(document, document.Line is { } line ? $"{document.Name}:{Format(line)}" : document.Name);
        _documents++;
    }

    public void WriteTotal()
    {
        var total = new ScoredDocument("total", null, _total, _againstTotal);
        if (_isJson)
            _terminal.WriteLine($"],\"count\":{Format(_documents)},\"total\":{Json.ToLine(ToJson(total))}}}");
        else
            WriteColumns(total, $"total of {Format(_documents)} document{(_documents == 1 ? "" : "s")}");
    }

    private void WriteColumns(ScoredDocument document, string name)
    {
        TextScore score = document.Score;
        string second = document.Against is { } against
            ? Columns(Format(against.NatsPerToken, "0.00000"), Format(document.Difference!.Value, "0.00000"))
            : "";
        _terminal.WriteLine(Columns(
            Format(score.Tokens), Format(score.Nats, "0.000"), Format(score.NatsPerToken, "0.00000"),
            Format(score.Perplexity, "0.000"), Format(score.BitsPerByte, "0.00000")) + second + "  " + name);
    }

    private static object ToJson(ScoredDocument document) => new
    {
        document = document.Name,
        document.Line,
        document.Score.Bytes,
        document.Score.Tokens,
        document.Score.Nats,
        natsPerToken = Present(document.Score.NatsPerToken, document.Score),
        perplexity = Present(document.Score.Perplexity, document.Score),
        bitsPerByte = Present(document.Score.BitsPerByte, document.Score),
        against = document.Against is not { } other ? null : new
        {
            other.Tokens,
            other.Nats,
            natsPerToken = Present(other.NatsPerToken, other),
            perplexity = Present(other.Perplexity, other),
            bitsPerByte = Present(other.BitsPerByte, other),
        },
        difference = document.Difference is { } difference ? Present(difference, document.Score) : null,
    };

    // What is a mean of nothing is left out; a NaN that a model computed is shown.
    private static double? Present(double value, TextScore score) => score.Tokens > 0 ? value : null;

    private static string Format(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Format(double value, string format) =>
        double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) : "–";

    private static string Columns(params ReadOnlySpan<string> cells)
    {
        string line = "";
        foreach (string cell in cells)
            line += cell.PadLeft(13);
        return line;
    }
}
