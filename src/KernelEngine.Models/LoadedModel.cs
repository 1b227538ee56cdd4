using KernelEngine.Models.Tokenizers;

namespace KernelEngine.Models;

/// <summary>A model that is ready to run: its description, its weights on a device, and its tokenizer.</summary>
public sealed class LoadedModel : IDisposable
{
    internal LoadedModel(ModelDescription description, ModelWeights weights, ITokenizer tokenizer) =>
        (Description, Weights, Tokenizer) = (description, weights, tokenizer);

    /// <summary>Sizes and options.</summary>
    public ModelDescription Description { get; }

    /// <summary>The weights; they live as long as this.</summary>
    public ModelWeights Weights { get; }

    /// <summary>Text to tokens and back.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Makes a runner: a cache and activations beside the shared weights.</summary>
    public ModelRunner CreateRunner(RunnerOptions? options = null) => new(Description, Weights, options);

    /// <summary>Continues a text; pieces come as they are generated, the prompt is not among them.</summary>
    /// <param name="runner">A runner of this model; the prompt is appended to what it holds.</param>
    /// <param name="prompt">The text to continue.</param>
    /// <param name="options">How; null for greedy.</param>
    /// <exception cref="ArgumentException">
    /// The prompt is longer than the model's positions, or an option is out of range.
    /// </exception>
    public IEnumerable<string> Generate(ModelRunner runner, string prompt, GenerationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(runner);
        int[] ids = Tokenizer.Encode(prompt, addSpecialTokens: runner.Position == 0);
        return Decode(ids, runner.Generate(ids, options));
    }

    /// <summary>Gives the weights back. Safe to call twice.</summary>
    public void Dispose() => Weights.Dispose();

    private IEnumerable<string> Decode(int[] prompt, IEnumerable<int> tokens)
    {
        TokenDecoder decoder = Tokenizer.CreateDecoder();
        foreach (int id in prompt)
            decoder.Append(id); // the decoder must know what stands before the first new token
        foreach (int id in tokens)
        {
            if (decoder.Append(id) is { Length: > 0 } text)
                yield return text.ToString();
        }
        if (decoder.Flush() is { Length: > 0 } rest)
            yield return rest.ToString();
    }
}
