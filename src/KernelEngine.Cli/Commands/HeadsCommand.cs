using System.CommandLine;
using KernelEngine.Models;

namespace KernelEngine.Cli.Commands;

/// <summary><c>heads</c>: which key/value heads of a model need their whole cache.</summary>
internal static class HeadsCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = new("--model") { Required = true, Description = "A .bin or .safetensors file, or a folder that holds one." };
        Option<string?> tokenizer = new("--tokenizer") { Description = "The tokenizer's file; without it the one beside the model." };
        Option<string> score = new("--score") { Required = true, Description = "What is measured." };
        score.AcceptOnlyFromAmong("retrieval", "induction", "echo", "streaming", "gates");
        Option<string?> text = new("--text")
        {
            Description = "A text in UTF-8, for retrieval, streaming and gates; its beginning is read, up to the model's context.",
        };
        Option<string> question = new("--question")
        {
            DefaultValueFactory = _ => "The best thing to do in San Francisco is",
            Description = "For retrieval and gates: how the needle begins, and what the prompt ends with.",
        };
        Option<string> answer = new("--answer")
        {
            DefaultValueFactory = _ => " eat a sandwich and sit in Dolores Park on a sunny day.",
            Description = "For retrieval and gates: how the needle ends, and what the model must give back.",
        };
        Option<int> sinks = Arguments.Number(
            "--sinks", 4, 0, Arguments.MaxTokens, "For streaming and gates: first tokens that streaming heads see.");
        Option<int> recent = Arguments.Number("--recent", 32, 1, Arguments.MaxTokens, "For streaming and gates: last tokens that it sees.");
        Option<int> steps = Arguments.Number("--steps", 200, 1, Arguments.MaxTokens, "For gates: steps, of a text each; published: 2000.");
        Option<string> output = new("--output")
        {
            Required = true,
            Description = "The table to write: a row a layer, a column a key/value head.",
        };
        Option<string?> device = Arguments.Device("Where to run; cpu without it");
        Option<int> threads = Arguments.Threads();
        var command = new Command("heads", """
            Find the key/value heads that need their whole cache: the higher a head's score, the more it does.

              retrieval  how often a head looks most at the token of a needle that the model produces next (arXiv:2404.15574)
              induction  attention on what followed earlier occurrences of a token, in repeated random tokens (arXiv:2407.15891)
              echo       attention on the earlier occurrences themselves
              streaming  attention outside the first and the latest tokens
              gates      gates that are learnt so that the model still finds a needle (arXiv:2410.10819)

            Examples:
              kernel-engine heads --model model.safetensors --score induction --output heads.tsv
              kernel-engine heads --model stories260K.bin --score streaming --text story.txt --output heads.tsv
              kernel-engine heads --model model.safetensors --score gates --text book.txt --sinks 64 --recent 256 --output heads.tsv
            """)
        { model, tokenizer, score, text, question, answer, sinks, recent, steps, output, device, threads };
        command.SetAction(parsed =>
        {
            using Device target = DeviceList.Open(parsed.GetValue(device) ?? "cpu", parsed.GetValue(threads));
            return HeadsRun.Run(terminal, target, new HeadsRequest
            {
                ModelPath = parsed.GetValue(model)!,
                Score = parsed.GetValue(score)!,
                TextPath = parsed.GetValue(text),
                Question = parsed.GetValue(question)!,
                Answer = parsed.GetValue(answer)!,
                SinkCount = parsed.GetValue(sinks),
                RecentCount = parsed.GetValue(recent),
                Steps = parsed.GetValue(steps),
                OutputPath = parsed.GetValue(output)!,
                Load = new LoadOptions { TokenizerPath = parsed.GetValue(tokenizer) },
            });
        });
        return command;
    }
}
