using System.Diagnostics;
using KernelEngine.Models;
using KernelEngine.Models.Induction;

namespace KernelEngine.Cli;

/// <summary>The built-in model, whose right answer is known: it must repeat what followed a token hidden in its prompt.</summary>
internal static class NeedleRun
{
    public static int Run(
        Terminal terminal, Device device, WeightOptions options, RunnerOptions runnerOptions, CacheRequest cache, AttentionRequest attention, int length,
        double depth, ulong seed)
    {
        var task = new NeedleTask(length, depth, seed);
        var model = new InductionModel(new InductionModelOptions { MaxPosition = Math.Max(InductionModelOptions.Default.MaxPosition, length + task.Answer.Length) });
        using ModelWeights weights = ModelWeights.Load(device, model.Description, model, options);
        using KvProjections? projections = cache.LoadProjections(device, model.Description);
        runnerOptions = runnerOptions with { Policy = cache.CreatePolicy(model.Description), Projections = projections?.Layers };
        using var runner = new ModelRunner(model.Description, weights, attention.Apply(runnerOptions, model.Description, length));
        TimeSpan prefill = default;
        long start = Stopwatch.GetTimestamp();
        NeedleResult result = terminal.Wait("reading the prompt", () => task.Run(runner, compress: r =>
        {
            r.Device.Synchronize();
            prefill = Stopwatch.GetElapsedTime(start);
        }));
        TimeSpan decode = Stopwatch.GetElapsedTime(start) - prefill;
        TextWriter output = terminal.Output;
        output.WriteLine($"prompt   {length} tokens; token {task.Question} and its needle at position {task.NeedlePosition}, token {task.Question} again at the end");
        output.WriteLine($"planted  {string.Join(' ', task.Answer.ToArray())}");
        output.WriteLine($"answer   {string.Join(' ', result.Outputs.ToArray())}");
        output.WriteLine(result.IsExact ? "verified: the answer is the needle" : $"WRONG: {result.CorrectTokens} of {result.Outputs.Length} tokens are the needle's");
        RunReport.Write(terminal.Error, runner, length, prefill, result.Outputs.Length, decode);
        return result.IsExact ? ExitCodes.Success : ExitCodes.WrongResult;
    }
}
