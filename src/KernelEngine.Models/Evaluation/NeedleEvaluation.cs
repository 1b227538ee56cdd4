using KernelEngine.Models.Induction;

namespace KernelEngine.Models.Evaluation;

/// <summary>
/// Needles in texts for the induction model, whose full cache always finds them: what a policy loses is the policy's loss alone.
/// </summary>
public sealed class NeedleEvaluation : IDisposable
{
    private readonly InductionModel _model;
    private readonly ModelWeights _weights;
    private readonly int _length;

    /// <summary>Loads the model.</summary>
    /// <param name="device">Where to run.</param>
    /// <param name="length">Tokens of a text, the question included.</param>
    /// <param name="options">The model's sharpness and groups; null for one-hot attention.</param>
    public NeedleEvaluation(Device device, int length = 512, InductionModelOptions? options = null)
    {
        options ??= InductionModelOptions.Default;
        (_length, _model) = (length, new InductionModel(options with { MaxPosition = Math.Max(options.MaxPosition, length + 16) }));
        _weights = ModelWeights.Load(device, _model.Description, _model);
    }

    /// <summary>The model.</summary>
    public ModelDescription Description => _model.Description;

    /// <summary>Hides needles at a depth and asks for them.</summary>
    /// <param name="createPolicy">What the cache keeps of the text with a number, 1, 2, ….</param>
    /// <param name="depth">Where the needle lies, 0 (first) to 1 (last).</param>
    /// <param name="seeds">Texts to draw.</param>
    /// <param name="questionInPrefill">
    /// True when the question ends the text, so that the policy sees it and the first answer comes from before the eviction.
    /// </param>
    /// <param name="runner">Memory of the runner; policies are this call's.</param>
    public NeedleScore Run(
        Func<int, KvPolicy> createPolicy, double depth, int seeds = 8, bool questionInPrefill = true, RunnerOptions? runner = null)
    {
        ArgumentNullException.ThrowIfNull(createPolicy);
        ArgumentOutOfRangeException.ThrowIfLessThan(seeds, 1);
        double accuracy = 0, exact = 0, bytes = 0, kept = 0;
        for (int seed = 1; seed <= seeds; seed++)
        {
            using ModelRunner model = CreateRunner(createPolicy(seed), runner);
            NeedleResult result = new NeedleTask(_length, depth, (ulong)seed).Run(model, questionInPrefill, compress: read =>
            {
                bytes += read.Session!.Bytes.PayloadUsed;
                kept += read.Session!.Cache.Layers.SelectMany(layer => layer.Cells).Average(cell => (double)cell.Length) / read.Position;
            });
            accuracy += result.TokenAccuracy;
            exact += result.IsExact ? 1 : 0;
        }
        return new NeedleScore(accuracy / seeds, exact / seeds, bytes / seeds, kept / seeds);
    }

    /// <summary>Asks for one needle.</summary>
    public NeedleResult RunOne(KvPolicy policy, NeedleTask task, bool questionInPrefill = true, RunnerOptions? runner = null)
    {
        ArgumentNullException.ThrowIfNull(task);
        using ModelRunner model = CreateRunner(policy, runner);
        return task.Run(model, questionInPrefill);
    }

    // A text is read at once, so that policies which drop tokens at the end of a chunk do so at its end.
    private ModelRunner CreateRunner(KvPolicy policy, RunnerOptions? options)
    {
        options ??= RunnerOptions.Default;
        return new ModelRunner(_model.Description, _weights, options with { Policy = policy, ChunkSize = Math.Max(options.ChunkSize, _length) });
    }

    /// <summary>Gives the weights back. Safe to call twice.</summary>
    public void Dispose() => _weights.Dispose();
}
