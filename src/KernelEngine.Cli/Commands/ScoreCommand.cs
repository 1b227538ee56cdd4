using System.CommandLine;
using KernelEngine.Models;

namespace KernelEngine.Cli.Commands;

/// <summary><c>score</c>: how likely a model finds texts, or how much likelier than another model does.</summary>
internal static class ScoreCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = new("--model") { Required = true, Description = "A .bin or .safetensors file, or a folder that holds one." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string[]> text = new("--text")
        {
            Required = true,
            AllowMultipleArgumentsPerToken = true,
            Description = "Text files in UTF-8, of any length.",
        };
        Option<string> by = new("--by")
        {
            DefaultValueFactory = _ => "file",
            Description = "What is a document: the whole file, each line, or what stands between empty lines.",
        };
        by.AcceptOnlyFromAmong("file", "line", "blank");
        Option<string?> against = new("--against")
        {
            Description = "A second model: each document's NLL by it less that by --model, in nats a token of --model, is written too.",
        };
        Option<int> stride = new("--stride")
        {
            Description = "Tokens from one window to the next in documents longer than the model's context; half the context without it.",
        };
        Option<string> weights = new("--weights")
        {
            DefaultValueFactory = _ => "stored",
            Description = "Type of the matrices on the device.",
        };
        weights.AcceptOnlyFromAmong("stored", "f32", "f16", "bf16");
        Option<string?> device = Arguments.Device("Where to run; cpu without it");
        Option<int> threads = Arguments.Threads();
        Option<bool> json = Arguments.Json();
        stride.Validators.Add(result => Arguments.Require(result, result.GetValue(stride) >= 1, "--stride must be at least 1."));
        var command = new Command("score", """
            Score texts: tokens, their negative log-likelihood in nats, perplexity and bits a byte, by document and in total. Every
            document begins anew. In one longer than the model's context C, windows of C tokens begin every --stride tokens, and
            each token is scored once, in the first window that reaches it. Memory does not grow with the text.

            With --against the difference is what CoLoR-Filter selects by (arXiv:2406.10670): --against is the prior, --model the
            model conditioned on what is wanted, and documents of large difference are chosen.

            Examples:
              kernel-engine score --model model.safetensors --text story.txt
              kernel-engine score --model tuned --against base --text a.txt b.txt --by line --json
            """)
        { model, tokenizer, text, by, against, stride, weights, device, threads, json };
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            DataType? matrixType = DataTypes.TryParse(parsed.GetValue(weights)!, out DataType type) ? type : null;
            return ScoreRun.Run(terminal, target, new ScoreRequest
            {
                ModelPath = parsed.GetValue(model)!,
                AgainstPath = parsed.GetValue(against),
                TextPaths = parsed.GetValue(text)!,
                Separator = Enum.Parse<DocumentSeparator>(parsed.GetValue(by)!, ignoreCase: true),
                Stride = parsed.GetValue(stride),
                Load = new LoadOptions
                {
                    TokenizerPath = parsed.GetValue(tokenizer),
                    Weights = new WeightOptions { MatrixType = matrixType },
                },
                IsJson = parsed.GetValue(json),
            });
        });
        return command;
    }
}
