namespace KernelEngine.Models.Heads;

/// <summary>
/// Copies the queries, keys and values that a model computes, before they are turned, while a text is read. As a policy of the
/// runner's cache it keeps everything and only watches.
/// </summary>
public sealed class ModelCapture : KvPolicy
{
    private readonly CapturedLayer[] _layers;

    /// <summary>Watches a model.</summary>
    public ModelCapture(ModelDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        (Description, Phases) = (description, KvPhases.None);
        _layers = [.. description.Layers.Select(layer => new CapturedLayer(layer))];
    }

    /// <inheritdoc/>
    public override string Name => "capture";

    /// <summary>The model.</summary>
    public ModelDescription Description { get; }

    /// <summary>What each layer computed since the sequence began.</summary>
    public IReadOnlyList<CapturedLayer> Layers => _layers;

    /// <summary>Reads one text.</summary>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="tokens">The text; at least one token.</param>
    /// <exception cref="ArgumentException">The tokens are none, too many, or not of the vocabulary.</exception>
    public static ModelCapture Read(ModelDescription description, ModelWeights weights, ReadOnlySpan<int> tokens)
    {
        if (tokens.Length == 0)
            throw new ArgumentException("There must be a token to read.", nameof(tokens));
        var capture = new ModelCapture(description);
        using ModelRunner runner = capture.CreateRunner(weights, tokens.Length);
        runner.Prefill(tokens);
        return capture;
    }

    /// <summary>Makes a runner that this watches.</summary>
    /// <param name="weights">The weights of the model.</param>
    /// <param name="length">Positions it has memory for at first.</param>
    public ModelRunner CreateRunner(ModelWeights weights, int length = 256) =>
        new(Description, weights, new RunnerOptions { Policy = this, InitialCapacity = length });

    /// <inheritdoc/>
    public override void Observe(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        CapturedLayer layer = _layers[step.Layer.Index];
        layer.Truncate(step.Layer.Cells[0].Length); // a sequence that was rewound goes on from there
        layer.Append(step.NewQuery, step.NewKey, step.NewValue);
    }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
    }
}
