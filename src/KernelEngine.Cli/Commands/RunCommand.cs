using System.CommandLine;
using KernelEngine.Models;
using KernelEngine.Models.Heads;

namespace KernelEngine.Cli.Commands;

/// <summary><c>run</c>: a model from files continues a text, or the built-in one finds its needle.</summary>
internal static class RunCommand
{
    private const int DefaultTokens = 200, DefaultLength = 512;

    public static Command Create(Terminal terminal)
    {
        Option<string?> model = new("--model") { Description = "A .bin or .safetensors file, or a folder that holds one; without it the built-in induction model runs." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string> prompt = new("--prompt") { DefaultValueFactory = _ => "", Description = "The text to continue." };
        Option<int> tokens = new("--tokens") { DefaultValueFactory = _ => DefaultTokens, Description = "New tokens at most." };
        Option<string> weights = new("--weights") { DefaultValueFactory = _ => "stored", Description = "Type of the matrices on the device." };
        weights.AcceptOnlyFromAmong("stored", "f32", "f16", "bf16");
        Option<string> kvType = new("--kv-type") { DefaultValueFactory = _ => "f32", Description = "Type of the cached keys and values." };
        kvType.AcceptOnlyFromAmong("f32", "f16", "bf16", "i8");
        Option<int> kvBits = new("--kv-bits")
        {
            Description = "Bits of cached keys and values but for the newest: 2, 4 or 8 (KIVI), with any --cache; 0 for none.",
        };
        Option<int> kvFull = new("--kv-full")
        {
            DefaultValueFactory = _ => KvCacheOptions.Default.FullCount,
            Description = "Newest tokens of each head that --kv-bits leaves in full precision.",
        };
        var cache = new CacheOptions();
        Option<string> attention = new("--attention")
        {
            DefaultValueFactory = _ => AttentionRequest.Full,
            Description = "Which keys attention looks at: full, moa (spans of heads by the rules of --spans) or spt (those with the most codes in "
                + "common with the query); the cache keeps all of them.",
        };
        attention.AcceptOnlyFromAmong(AttentionRequest.Full, AttentionRequest.Moa, AttentionRequest.Spt);
        Option<string> top = new("--top")
        {
            DefaultValueFactory = _ => new AttentionRequest().Top,
            Description = "Keys that spt looks at: a number, or a share of the length such as 1/8.",
        };
        Option<string> feedForward = new("--ffn")
        {
            DefaultValueFactory = _ => "full",
            Description = "Feed-forward networks: full, or routed (the blocks that the model's router chooses; see `convert --ffn-blocks`).",
        };
        feedForward.AcceptOnlyFromAmong("full", "routed");
        Option<int> active = new("--ffn-active") { Description = "Blocks that a token goes through when routed; the model's own number without it." };
        Option<float?> temperature = new("--temperature") { Description = "Divides the logits; without it and the next three the likeliest token is taken." };
        Option<int?> topK = new("--top-k") { Description = "Keep this many of the likeliest tokens." };
        Option<float?> topP = new("--top-p") { Description = "Keep this share of the probability." };
        Option<float?> minP = new("--min-p") { Description = "Keep tokens of at least this part of the largest probability." };
        Option<int> seed = new("--seed") { DefaultValueFactory = _ => 1, Description = "Seed of the sampling, or of the needle." };
        Option<string?> expect = new("--expect") { Description = "A file in the format of expected_greedy.json to compare with; without it one beside the model." };
        Option<int> length = new("--length") { DefaultValueFactory = _ => DefaultLength, Description = "Tokens of the text that hides the needle." };
        Option<double> depth = new("--depth") { DefaultValueFactory = _ => 0.5, Description = "Where the needle lies, 0 (first) to 1 (last)." };
        Option<string?> device = Arguments.Device("Where to run; cpu without it");
        Option<int> threads = Arguments.Threads();
        tokens.Validators.Add(result => Arguments.Require(result, result.GetValue(tokens) >= 0, "--tokens must not be negative."));
        var command = new Command("run", """
            Run a model. Text goes to standard output, what ran and how fast to standard error.

            Without --model: a small transformer with hand-written weights must find a needle, and its answer is checked.

            Examples:
              kernel-engine run
              kernel-engine run --length 4096 --depth 0.1 --weights bf16 --kv-type bf16
              kernel-engine run --model model.safetensors --prompt "Once upon a time" --tokens 100 --temperature 0.8
              kernel-engine run --model model.safetensors --prompt "Once upon a time" --cache streaming-reindexed --budget 128 --tokens 5000
              kernel-engine run --model model.safetensors --prompt "Once upon a time" --cache ada:snapkv --budget 64 --interval 16
              kernel-engine run --model model.safetensors --prompt "Once upon a time" --cache snapkv --kv-bits 4
              kernel-engine run --model shorter --prompt "Once upon a time" --kv-projections shorter/projections.safetensors
              kernel-engine run --length 4096 --attention spt --top 1/8
            """)
        { model, tokenizer, prompt, tokens, weights, kvType, kvBits, kvFull, temperature, topK, topP, minP, seed, expect, length, depth, attention,
            top, feedForward, active, device, threads };
        cache.AddTo(command);
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            DataType? matrixType = DataTypes.TryParse(parsed.GetValue(weights)!, out DataType type) ? type : null;
            var options = new WeightOptions { MatrixType = matrixType };
            var runner = new RunnerOptions
            {
                KvType = DataTypes.TryParse(parsed.GetValue(kvType)!, out DataType cached) ? cached : DataType.Float32,
                KvBits = parsed.GetValue(kvBits),
                KvFullCount = parsed.GetValue(kvFull),
            };
            // Codes and shorter rows lie in pages: everything is kept there when nothing else is asked for.
            CacheRequest keeps = cache.Read(parsed);
            if ((runner.KvType == DataType.Int8 || runner.KvBits > 0 || keeps.ProjectionsPath is not null) && keeps.Policy is null)
                keeps = keeps with { Policy = "full" };
            using RetainingNetworks? networks = keeps.NetworksPath is { } file ? RetainingNetworks.Load(target, file) : null;
            keeps = keeps with { Networks = networks?.Layers };
            var sees = new AttentionRequest { Kind = parsed.GetValue(attention)!, RulesPath = keeps.SpansPath, Top = parsed.GetValue(top)! };
            ulong seedValue = unchecked((ulong)parsed.GetValue(seed));
            if (parsed.GetValue(model) is not { } path)
                return NeedleRun.Run(terminal, target, options, runner, keeps, sees, parsed.GetValue(length), parsed.GetValue(depth), seedValue);
            bool samples = parsed.GetValue(temperature) is not null || parsed.GetValue(topK) is not null
                || parsed.GetValue(topP) is not null || parsed.GetValue(minP) is not null;
            return ModelRun.Run(terminal, target, path, new ModelRunRequest
            {
                Prompt = parsed.GetValue(prompt)!,
                ExpectPath = parsed.GetValue(expect),
                Runner = runner,
                Cache = keeps,
                Attention = sees,
                ActiveFeedForwardBlocks = parsed.GetValue(feedForward) == "routed" ? parsed.GetValue(active) : null,
                Load = new LoadOptions { TokenizerPath = parsed.GetValue(tokenizer), Weights = options },
                Generation = new GenerationOptions
                {
                    MaxTokens = parsed.GetValue(tokens),
                    Seed = seedValue,
                    Sampling = !samples ? SamplingOptions.Greedy : new SamplingOptions
                    {
                        Temperature = parsed.GetValue(temperature) ?? 1,
                        TopK = parsed.GetValue(topK) ?? 0,
                        TopP = parsed.GetValue(topP) ?? 1,
                        MinP = parsed.GetValue(minP) ?? 0,
                    },
                },
            });
        });
        return command;
    }
}
