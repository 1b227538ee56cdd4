using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>
/// Codebooks for attention that looks at a few keys (SPT, Gui et al. 2023, arXiv:2312.10365): for each block one, fitted to the queries
/// and keys that a text gives, as they meet: after the rotary embedding. The model is otherwise unchanged.
/// </summary>
public static class CodebookFitting
{
    /// <summary>Components of a sub-vector, as published.</summary>
    public const int SubVectorSize = 8;

    /// <summary>Fits the codebooks of every block.</summary>
    /// <param name="device">Where the model reads the text.</param>
    /// <param name="description">The model; rotary pairs that are neighbours come back as two halves, since sub-vectors are of neighbours.</param>
    /// <param name="source">Its weights; those that come back read them.</param>
    /// <param name="tokens">The text; at least two tokens.</param>
    /// <exception cref="ArgumentException">The tokens are too few, too many, or not of the vocabulary.</exception>
    public static (ModelDescription Description, IWeightSource Weights) Fit(
        Device device, ModelDescription description, IWeightSource source, ReadOnlySpan<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(source);
        if (tokens.Length < 2)
            throw new ArgumentException("There must be two tokens to read at least.", nameof(tokens));
        (description, source) = HalfSplitWeights.Of(WithSubVectors(description, 0), source);
        using ModelWeights weights = ModelWeights.Load(device, description, source);
        using var runner = new ModelRunner(description, weights, new RunnerOptions { KeepCount = 1, ChunkSize = tokens.Length });
        runner.Prefill(tokens);
        var fitted = new ReplacedWeights(source);
        ModelDescription coded = WithSubVectors(description, SubVectorSize);
        for (int layer = 0; layer < coded.Layers.Length; layer++)
        {
            fitted.Replace(
                WeightRole.Codebook, layer, runner.ReadCodebook(layer), coded.Layers[layer].SubVectors, SparseAttention.Codewords, SubVectorSize);
        }
        return (coded, fitted);
    }

    private static ModelDescription WithSubVectors(ModelDescription description, int size) =>
        description with { Layers = [.. description.Layers.Select(layer => layer with { SubVectorSize = size })] };
}
