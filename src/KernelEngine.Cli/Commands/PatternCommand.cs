using System.CommandLine;
using System.Globalization;
using KernelEngine.Cli.Pictures;
using Spectre.Console;

namespace KernelEngine.Cli.Commands;

/// <summary><c>pattern</c>: which keys the rows of a sparse attention pattern see, as numbers and as a picture.</summary>
internal static class PatternCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string> name = new("name") { Description = $"The pattern: {string.Join(", ", PatternRequest.Names)}." };
        name.AcceptOnlyFromAmong(PatternRequest.Names);
        Option<int> length = Arguments.Number("--length", 1024, 1, Arguments.MaxTokens, "Tokens of the sequence.");
        Option<int> window = Arguments.Number(
            "--window", 256, 1, Arguments.MaxTokens,
            "Tokens of a window (window: those before a row; longformer: to both sides together), or the stride.");
        Option<int> sinks = Arguments.Number(
            "--sinks", 4, 0, Arguments.MaxTokens, "First tokens that all rows see, of window and sf-attn.");
        Option<int> block = Arguments.Number("--block", 64, 1, Arguments.MaxTokens, "Tokens of a block.");
        Option<int> group = Arguments.Number(
            "--group", 0, 0, Arguments.MaxTokens, "Tokens of a group of s2-attn and sf-attn; a quarter of the length without it.");
        Option<int> random = Arguments.Number("--random", 3, 0, Arguments.MaxTokens, "Random blocks of bigbird.");
        Option<int[]> globals = new("--globals") { AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [0], Description = "Global blocks of longformer." };
        Option<double[]> spans = new("--spans")
        {
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [128, 256, 512, 1024],
            Description = "Tokens of the span of each head of moa.",
        };
        Option<bool> bidirectional = new("--bidirectional") { Description = "Rows of bigbird and longformer see what comes after them, too." };
        Option<int> heads = Arguments.Number("--heads", 1, 1, 64, "Heads of bigbird, each with random blocks of its own.");
        Option<int> headDim = Arguments.Number("--head-dim", 64, 1, AttentionProblem.MaxHeadDim, "Elements of a row, for the FLOPs.");
        Option<int> seed = Arguments.Number("--seed", 0, 0, int.MaxValue, "Of the random blocks.");
        Option<string?> output = new("--output") { Description = "A PNG file to draw: a panel for each head, rows downwards." };
        Option<bool> json = Arguments.Json();
        var command = new Command("pattern", """
            Show which keys each query row of a sparse attention pattern sees: pairs, density and FLOPs beside dense attention, and a picture.

            Examples:
              kernel-engine pattern window --length 1024 --window 256 --sinks 64 --output window.png
              kernel-engine pattern sf-attn --length 1024 --output groups.png
              kernel-engine pattern bigbird --length 2048 --heads 2 --bidirectional --output bigbird.png
            """)
        { name, length, window, sinks, block, group, random, globals, spans, bidirectional, heads, headDim, seed, output, json };
        command.SetAction(parsed =>
        {
            var request = new PatternRequest
            {
                Name = parsed.GetValue(name)!,
                Length = parsed.GetValue(length),
                Window = parsed.GetValue(window),
                Sinks = parsed.GetValue(sinks),
                Block = parsed.GetValue(block),
                Group = parsed.GetValue(group),
                Random = parsed.GetValue(random),
                Globals = parsed.GetValue(globals)!,
                Spans = parsed.GetValue(spans)!,
                IsBidirectional = parsed.GetValue(bidirectional),
                Heads = parsed.GetValue(heads),
                Seed = parsed.GetValue(seed),
            };
            string? file = parsed.GetValue(output);
            if (file is not null && PictureFonts.WhyUnavailable() is { } reason)
                throw new NotSupportedException($"There can be no picture: {reason}.");
            AttentionPattern pattern = request.Create();
            if (file is not null)
                PatternPicture.Save(file, request.Name, pattern);
            double flops = 4.0 * pattern.Pairs * parsed.GetValue(headDim);
            Write(terminal, parsed.GetValue(json), new PatternResult
            {
                Pattern = request.Name,
                Length = request.Length,
                Heads = pattern.Shape.NumHeads,
                Block = pattern.Shape.KeyBlock,
                Pairs = pattern.Pairs,
                Density = pattern.Density,
                Flops = flops,
                DenseFlops = flops / pattern.Density,
                Picture = file,
            });
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Write(Terminal terminal, bool isJson, PatternResult result)
    {
        if (isJson)
        {
            Json.Write(terminal.Output, result);
            return;
        }
        Table table = Terminal.NewTable("pattern", "length", "heads", "block", "pairs", "density", "GFLOP", "dense GFLOP");
        table.AddRow(result.Pattern, Text($"{result.Length}"), Text($"{result.Heads}"), Text($"{result.Block}"), Text($"{result.Pairs}"),
            Text($"{100 * result.Density:0.00} %"), Text($"{result.Flops / 1e9:0.000}"), Text($"{result.DenseFlops / 1e9:0.000}"));
        terminal.Write(table);
        if (result.Picture is { } file)
            terminal.Error.WriteLine($"wrote    {file}");
    }

    private static string Text(FormattableString value) => value.ToString(CultureInfo.InvariantCulture);
}
