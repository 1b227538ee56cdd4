using KernelEngine.Benchmarks.Runner;
using KernelEngine.Models;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>
/// A whole model in interleaved rounds, one row a task and storage type, against the roofs. There is no peer of the same
/// task in the process.
/// </summary>
internal sealed class RunnerComparison
{
    public const string Shape =
        "Llama shape, dim 768, 12 layers, 12 heads, ffn 2048, vocab 32000, 109.5 M parameters, random weights";

    private const int PromptTokens = 512, DecodeContext = 16, DecodeTokens = 8;

    public static IReadOnlyList<string> Explanation { get; } =
    [
        $"Decode: {DecodeTokens} tokens after {DecodeContext}, each with the greedy choice of the next; GB/s counts the",
        $"matrices of the layers and the output head once a token. Prefill: {PromptTokens} tokens of an empty cache; FLOPs are",
        "2 · parameters of the layers' matrices · tokens, the output head for the last token alone, and causal attention.",
        "Keys and values are f32. No peer runs this task here, so there is no ratio; figures of",
        "other engines measured elsewhere or at another hour are not compared.",
    ];

    public List<RunnerTask> Tasks { get; } = [];

    public List<Roof> Roofs { get; } = [];

    public static RunnerComparison Run(Device device, CompareOptions options)
    {
        var comparison = new RunnerComparison();
        var models = new List<RandomModel>();
        try
        {
            foreach (DataType type in (DataType[])[DataType.Float32, DataType.BFloat16, DataType.Float16])
            {
                models.Add(new RandomModel(device, type));
                comparison.AddTasks(models[^1]);
            }
            double[] expected = [.. comparison.Tasks.Select(task => Sampler.WarmUp(task.Run))];
            for (int round = 0; round < options.Rounds; round++)
            {
                comparison.Roofs.Add(KernelEngine.Roofs.Measure(device));
                foreach ((RunnerTask task, double seconds) in comparison.Tasks.Zip(expected))
                    task.Row.Seconds.Add(Sampler.Sample(task.Run, options.SampleSeconds, seconds));
            }
        }
        finally
        {
            foreach (RandomModel model in models)
                model.Dispose();
        }
        return comparison;
    }

    private void AddTasks(RandomModel model)
    {
        int[] prompt = RandomModel.Tokens(PromptTokens);
        ModelRunner runner = model.CreateRunner();
        void Decode()
        {
            if (runner.Position != DecodeContext + DecodeTokens)
            {
                runner.Reset();
                runner.Prefill(prompt.AsSpan(0, DecodeContext));
            }
            else
            {
                runner.Rewind(DecodeContext);
            }
            int token = prompt[DecodeContext];
            for (int i = 0; i < DecodeTokens; i++)
            {
                runner.Decode(token);
                token = runner.SelectGreedy();
            }
        }
        ModelRunner prefillRunner = model.CreateRunner();
        void Prefill()
        {
            prefillRunner.Reset();
            prefillRunner.Prefill(prompt);
        }
        double decodeFlops = Enumerable.Range(DecodeContext, DecodeTokens).Sum(position => RandomModel.Flops(position, 1));
        Tasks.Add(new RunnerTask(
            "decode", model.Type, DecodeTokens, decodeFlops, (double)DecodeTokens * model.MatrixBytes, Decode));
        Tasks.Add(new RunnerTask(
            "prefill", model.Type, PromptTokens, RandomModel.Flops(0, PromptTokens), model.MatrixBytes, Prefill));
    }
}
