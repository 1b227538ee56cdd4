using System.Diagnostics;
using KernelEngine.Models;
using KernelEngine.Models.Scoring;

namespace KernelEngine.Cli;

/// <summary>Scores the documents of text files, one after another, and writes each out when it is done.</summary>
internal static class ScoreRun
{
    public static int Run(Terminal terminal, Device device, ScoreRequest request)
    {
        long bytes = request.TextPaths.Sum(FindLength);
        using LoadedModel model = terminal.Wait("loading the model", () => ModelLoader.Load(request.ModelPath, device, request.Load));
        using LoadedModel? other = request.AgainstPath is not { } path
            ? null
            : terminal.Wait("loading the second model", () => ModelLoader.Load(path, device, request.Load with { TokenizerPath = null }));
        using var scorer = new TextScorer(model, request.Stride);
        using TextScorer? against = other is null ? null : new TextScorer(other, request.Stride);
        var writer = new ScoreWriter(terminal, request, scorer.Stride);
        long start = Stopwatch.GetTimestamp();
        terminal.Track("score", bytes, report =>
        {
            long done = 0;
            foreach (string text in request.TextPaths)
                done += ScoreFile(text, request.Separator, scorer, against, writer, read => report(done + read));
        });
        writer.WriteTotal();
        RunReport.WriteScoring(terminal.Error, device, scorer.TokensRun + (against?.TokensRun ?? 0), Stopwatch.GetElapsedTime(start));
        return ExitCodes.Success;
    }

    // Returns the bytes that were read.
    private static long ScoreFile(
        string path, DocumentSeparator separator, TextScorer scorer, TextScorer? against, ScoreWriter writer, Action<long> report)
    {
        using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0, FileOptions.SequentialScan);
        var reader = new DocumentReader(stream, path, separator);
        while (true)
        {
            switch (reader.Read())
            {
                case DocumentReader.Part.Text:
                    scorer.Append(reader.Text);
                    against?.Append(reader.Text);
                    report(reader.Position);
                    break;
                case DocumentReader.Part.EndOfDocument:
                    long? line = separator == DocumentSeparator.File ? null : reader.FirstLine;
                    writer.Write(new ScoredDocument(path, line, scorer.Finish(), against?.Finish()));
                    break;
                default:
                    return reader.Position;
            }
        }
    }

    // Looks for every file before the first is scored, which may take hours. A pipe has no length.
    private static long FindLength(string path)
    {
        if (Directory.Exists(path))
            throw new IOException($"'{path}' is a folder: name the files in it.");
        var file = new FileInfo(path);
        return file.Exists ? file.Length : throw new FileNotFoundException($"There is no file '{path}'.", path);
    }
}
