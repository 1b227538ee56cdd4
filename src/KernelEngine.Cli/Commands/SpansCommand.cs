using System.CommandLine;
using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli.Commands;

/// <summary><c>spans</c>: how far back each head of a model must see.</summary>
internal static class SpansCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = new("--model") { Required = true, Description = "A .bin or .safetensors file, or a folder that holds one." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string> text = new("--text") { Required = true, Description = "A text in UTF-8, whose pieces the model continues." };
        Option<int[]> lengths = new("--lengths")
        {
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [2048, 4096, 8192],
            Description = "Tokens of the pieces, their ends included.",
        };
        lengths.Validators.Add(result => Arguments.Require(
            result, result.GetValue(lengths) is { Length: > 0 } given && given.All(length => length is > 1 and <= Arguments.MaxTokens),
            $"--lengths must be 2 to {Arguments.MaxTokens}."));
        Option<int> unseen = Arguments.Number(
            "--unseen", 0, 0, Arguments.MaxTokens, "Tokens of other pieces, which decide between plans; 0 for none.");
        Option<int> answer = Arguments.Number(
            "--answer", 32, 1, Arguments.MaxTokens, "Tokens at the end of a piece that the model says itself; the loss is of these.");
        Option<int> samples = Arguments.Number(
            "--samples", 4, 1, Arguments.MaxTokens, "Pieces of each length, as far as the text goes.");
        Option<int> block = Arguments.Number(
            "--block", MoaProfile.DefaultBlockSize, 1, Arguments.MaxTokens, "Tokens that influence is summed up over.");
        Option<int> step = Arguments.Number(
            "--step", MoaPlanOptions.Default.AlphaStep, 1, Arguments.MaxTokens, "Tokens from one α to the next.");
        Option<double> density = new("--density")
        {
            DefaultValueFactory = _ => MoaPlanOptions.Default.Density,
            Description = "Mean share of a text's blocks that heads may see, at each length.",
        };
        density.Validators.Add(result => Arguments.Require(
            result, result.GetValue(density) is > 0 and <= 1, "--density must be above 0 and at most 1."));
        Option<string> output = new("--output")
        {
            Required = true,
            Description = "The rules to write, in JSON, for --cache moa and --attention moa.",
        };
        Option<string?> device = Arguments.Device("Where to run; cpu without it");
        Option<int> threads = Arguments.Threads();
        var command = new Command("spans", """
            Find how far back each head must see (MoA, arXiv:2406.14909): α + β · N tokens of a text of N, within a mean density. The
            influence of attention on the loss of what the model says itself is measured by its gradients, at several lengths; then the
            rules are chosen that lose least.

            Examples:
              kernel-engine spans --model llama --text book.txt --output rules.json
              kernel-engine spans --model stories260K.bin --text story.txt --lengths 128 256 512 --block 16 --step 32 --output rules.json
              kernel-engine run --model stories260K.bin --prompt "Once upon a time" --cache moa --spans rules.json
            """)
        { model, tokenizer, text, lengths, unseen, answer, samples, block, step, density, output, device, threads };
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            return SpansRun.Run(terminal, target, new SpansRequest
            {
                ModelPath = parsed.GetValue(model)!,
                TextPath = parsed.GetValue(text)!,
                Lengths = parsed.GetValue(lengths)!,
                UnseenLength = parsed.GetValue(unseen),
                AnswerLength = parsed.GetValue(answer),
                Samples = parsed.GetValue(samples),
                BlockSize = parsed.GetValue(block),
                Plan = new MoaPlanOptions { Density = parsed.GetValue(density), AlphaStep = parsed.GetValue(step) },
                OutputPath = parsed.GetValue(output)!,
                Load = new LoadOptions { TokenizerPath = parsed.GetValue(tokenizer) },
            });
        });
        return command;
    }
}
