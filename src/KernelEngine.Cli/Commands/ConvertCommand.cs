using System.CommandLine;
using KernelEngine.Models;
using KernelEngine.Models.Conversion;

namespace KernelEngine.Cli.Commands;

/// <summary><c>convert</c>: a model as a Hugging Face checkpoint, with fewer key/value heads if asked for.</summary>
internal static class ConvertCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = new("--model") { Required = true, Description = "A .bin or .safetensors file, or a folder that holds one." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string> output = new("--output") { Required = true, Description = "The folder to write." };
        Option<string> weights = new("--weights")
        {
            DefaultValueFactory = _ => "stored",
            Description = "Type of the weights in the file.",
        };
        weights.AcceptOnlyFromAmong("stored", "f32", "f16", "bf16");
        Option<int> group = new("--group")
        {
            DefaultValueFactory = _ => 1,
            Description = "Neighbouring key/value heads that become one; needs --text.",
        };
        Option<bool> codebooks = new("--codebooks")
        {
            Description = "Add codebooks for `run --attention spt`, fitted to queries and keys of the text; needs --text.",
        };
        Option<int> blocks = new("--ffn-blocks")
        {
            Description = "Cut feed-forward networks into so many blocks with a router, for `run --ffn routed`; needs --text.",
        };
        Option<int> active = new("--ffn-active") { Description = "Blocks that each token goes through; half of them without it." };
        Option<UnitGrouping> grouping = new("--ffn-grouping")
        {
            DefaultValueFactory = _ => UnitGrouping.CoActivation,
            Description = "Which units make up a block: those that are active together, or neighbours.",
        };
        Option<double> kvShare = new("--kv-share")
        {
            DefaultValueFactory = _ => 1,
            Description = "Write bases by which a cache stores this share of keys and values, for `run --kv-projections`; needs --text.",
        };
        Option<string?> text = new("--text") { Description = "A text in UTF-8, as what the model is for, that shows what the heads hold." };
        Option<string?> device = Arguments.Device("Where the model reads the text; cpu without it");
        Option<int> threads = Arguments.Threads();
        blocks.Validators.Add(result => Arguments.Require(result, result.GetValue(blocks) is 0 or >= 2, "--ffn-blocks must be at least 2."));
        kvShare.Validators.Add(result =>
            Arguments.Require(result, result.GetValue(kvShare) is > 0 and <= 1, "--kv-share must be above 0 and at most 1."));
        group.Validators.Add(result => Arguments.Require(result, result.GetValue(group) >= 1, "--group must be at least 1."));
        var command = new Command("convert", """
            Write a model as config.json, model.safetensors and its tokenizer, which is what run and score read.

            With --group the cache of the new model is as much smaller: of each group of heads one is made that holds as much of their
            keys and values, over the text, as one can (arXiv:2406.07056). The share that it holds is told for each layer.

            Examples:
              kernel-engine convert --model stories260K.bin --output stories
              kernel-engine convert --model stories260K.bin --output smaller --group 2 --text story.txt
              kernel-engine convert --model stories260K.bin --output coded --codebooks --text story.txt
              kernel-engine convert --model stories260K.bin --output shorter --kv-share 0.75 --text story.txt
              kernel-engine convert --model stories260K.bin --output routed --ffn-blocks 4 --ffn-active 2 --text story.txt
            """)
        { model, tokenizer, output, weights, group, codebooks, blocks, active, grouping, kvShare, text, device, threads };
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            return ConvertRun.Run(terminal, target, new ConvertRequest
            {
                ModelPath = parsed.GetValue(model)!,
                TokenizerPath = parsed.GetValue(tokenizer),
                OutputPath = parsed.GetValue(output)!,
                Type = DataTypes.TryParse(parsed.GetValue(weights)!, out DataType type) ? type : null,
                GroupSize = parsed.GetValue(group),
                FeedForwardBlocks = parsed.GetValue(blocks),
                ActiveFeedForwardBlocks = parsed.GetValue(active) is > 0 and var given ? given : parsed.GetValue(blocks) / 2,
                Grouping = parsed.GetValue(grouping),
                AddsCodebooks = parsed.GetValue(codebooks),
                KvShare = parsed.GetValue(kvShare),
                TextPath = parsed.GetValue(text),
            });
        });
        return command;
    }
}
