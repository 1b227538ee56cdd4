using System.CommandLine;
using KernelEngine.Models;

namespace KernelEngine.Cli.Commands;

/// <summary><c>evict</c>: what cache policies cost a model at several budgets.</summary>
internal static class EvictCommand
{
    private static readonly string[] DefaultPolicies =
        ["streaming", "h2o", "snapkv", "tova", "knorm", "ada:snapkv", "ems", "locret", "random"];

    public static Command Create(Terminal terminal)
    {
        Option<string?> model = new("--model") { Description = "A .bin or .safetensors file, or a folder that holds one; without it the built-in induction model." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string?> text = new("--text") { Description = "A text in UTF-8 for the model to read; its beginning is used." };
        Option<string[]> policies = new("--policies")
        {
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => DefaultPolicies,
            Description = "Policies as `run --cache` takes them.",
        };
        Option<int[]> budgets = new("--budgets")
        {
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [32, 64, 128, 256],
            Description = "Tokens that each key/value head keeps.",
        };
        Option<int> length = new("--length") { Description = "Tokens of the text; 512 without it, or what the model has positions for." };
        Option<int> prompt = new("--prompt") { DefaultValueFactory = _ => -1, Description = "Tokens of a model's text that are read at once; half without it." };
        Option<int> seeds = Arguments.Number("--seeds", 8, 1, 10000, "Texts to draw for the built-in model.");
        Option<string?> heads = new("--heads") { Description = "A table of head scores (see `heads`), for duo and razor." };
        Option<double> full = new("--full-share") { DefaultValueFactory = _ => 0.5, Description = "Share of the heads that keep everything." };
        Option<string?> networks = new("--networks")
        {
            Description = "Trained networks of the model in safetensors (Locret's fc1 and fc2); without them locret is left out.",
        };
        Option<string?> projections = new("--kv-projections")
        {
            Description = "Bases of the model (see `convert --kv-share`) by which cached rows are shorter, but for the first line's.",
        };
        Option<string?> output = new("--output") { Description = "A folder for evict.json and the pictures." };
        Option<string?> device = Arguments.Device("Where to run; cpu without it");
        Option<int> threads = Arguments.Threads();
        Option<bool> json = Arguments.Json();
        budgets.Validators.Add(result => Arguments.Require(result, result.GetValue(budgets)!.All(budget => budget >= 1), "--budgets must be at least 1."));
        full.Validators.Add(result => Arguments.Require(result, result.GetValue(full) is >= 0 and <= 1, "--full-share must be 0 to 1."));
        length.Validators.Add(result => Arguments.Require(result, result.GetValue(length) >= 0, "--length must not be negative."));
        var command = new Command("evict", """
            Measure what cache policies cost. The built-in induction model, whose retrieval head alone is evicted, must find a needle:
            the table says how often, at depths 0.3 and 0.7, with the question part of the prompt and without. A model from files reads
            a text, half of it as a prompt: the table says its perplexity, how far its next-token distributions are from those of the
            full cache (KL, in nats), how often both agree, and the relative error of attention's outputs.

            Examples:
              kernel-engine evict
              kernel-engine evict --policies snapkv ada:snapkv --budgets 64 128 --output results
              kernel-engine evict --model model.safetensors --text story.txt --length 512
            """)
        {
            model, tokenizer, text, policies, budgets, length, prompt, seeds, heads, full, networks, projections, output, device, threads,
            json,
        };
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            return EvictRun.Run(terminal, target, new EvictRequest
            {
                ModelPath = parsed.GetValue(model),
                TextPath = parsed.GetValue(text),
                Policies = parsed.GetValue(policies)!,
                Budgets = parsed.GetValue(budgets)!,
                Length = parsed.GetValue(length),
                PromptLength = parsed.GetValue(prompt),
                Seeds = parsed.GetValue(seeds),
                HeadsPath = parsed.GetValue(heads),
                FullShare = parsed.GetValue(full),
                NetworksPath = parsed.GetValue(networks),
                ProjectionsPath = parsed.GetValue(projections),
                OutputFolder = parsed.GetValue(output),
                Load = new LoadOptions { TokenizerPath = parsed.GetValue(tokenizer) },
                IsJson = parsed.GetValue(json),
            });
        });
        return command;
    }
}
