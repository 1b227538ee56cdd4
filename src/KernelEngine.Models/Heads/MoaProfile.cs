using KernelEngine.Models.Scoring;

namespace KernelEngine.Models.Heads;

/// <summary>
/// What the loss of texts of one length loses with the attention of each key/value head, by distance (MoA, Fu et al. 2024,
/// arXiv:2406.14909, section 4.1): the influence of key j on row i is how much the loss changes, to first order, when that weight is taken
/// away and the rest of the row is scaled up to 1,
/// <code>E_ij = | A_ij · (Σ_n g_in A_in − g_ij) / (1 − A_ij) |, g = ∂loss / ∂A,</code>
/// summed over blocks of rows and keys. The sums over blocks at one distance are all that a span of the last tokens beside the first block
/// is judged by. Of the query heads that share a key/value head the one with the most influence counts.
/// </summary>
public sealed class MoaProfile
{
    /// <summary>Rows and keys of a block, as published.</summary>
    public const int DefaultBlockSize = 64;

    private readonly HeadScores[] _influence; // by distance in blocks, without the first block of keys

    internal MoaProfile(int length, int blockSize, HeadScores[] influence, HeadScores total) =>
        (Length, BlockSize, _influence, Total) = (length, blockSize, influence, total);

    /// <summary>Tokens of each text.</summary>
    public int Length { get; }

    /// <summary>Rows and keys of a block.</summary>
    public int BlockSize { get; }

    /// <summary>Blocks of a text.</summary>
    public int NumBlocks => _influence.Length;

    /// <summary>The influence of all keys, the mean over the texts, by layer and key/value head.</summary>
    public HeadScores Total { get; }

    /// <summary>Measures the influence on the loss of the tails' tokens.</summary>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="texts">Texts of one length; published ones end with what the model itself answers to a question.</param>
    /// <param name="blockSize">Rows and keys of a block.</param>
    /// <exception cref="ArgumentException">
    /// There is no text, or they differ in length, or one has no tail or does not fit the model.
    /// </exception>
    /// <exception cref="NotSupportedException">The layers differ in heads.</exception>
    public static MoaProfile Measure(
        ModelDescription description, ModelWeights weights, IReadOnlyList<TailText> texts, int blockSize = DefaultBlockSize)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(weights);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfLessThan(blockSize, 1);
        if (texts.Count == 0 || texts.Any(text => text.Tokens.Length != texts[0].Tokens.Length))
            throw new ArgumentException("There must be texts, all of the same length.", nameof(texts));
        int length = texts[0].Tokens.Length, blocks = (length + blockSize - 1) / blockSize;
        HeadScores[] influence = [.. Enumerable.Range(0, blocks).Select(_ => AttentionRows.CreateScores(description))];
        HeadScores total = AttentionRows.CreateScores(description);
        using Tensor? wideHead = weights.Head.Type == DataType.Float32 ? null : SequenceScorer.Widen(weights.Head);
        foreach (TailText text in texts)
        {
            text.Require(nameof(texts));
            float[][] gradients = Differentiate(description, weights, wideHead ?? weights.Head, text);
            ModelCapture capture = ModelCapture.Read(description, weights, text.Tokens.Span);
            Parallel.For(0, total.NumLayers * total.NumHeads, index =>
            {
                (int layer, int head) = Math.DivRem(index, total.NumHeads);
                AddInfluence(capture.Layers[layer], gradients[layer], layer, head, blockSize, influence, total);
            });
        }
        return new MoaProfile(length, blockSize, [.. influence.Select(MeanOverTexts)], MeanOverTexts(total));

        HeadScores MeanOverTexts(HeadScores sum) => sum.MaxOverGroups(description.Layers[0].NumKvHeads).Map(value => value / texts.Count);
    }

    /// <summary>What is lost, to first order, when a head sees the first block and the last blocks alone.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The key/value head.</param>
    /// <param name="recentBlocks">Last blocks, a row's own included; at least 1.</param>
    public double Loss(int layer, int head, int recentBlocks)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(recentBlocks, 1);
        double loss = 0;
        for (int distance = recentBlocks; distance < NumBlocks; distance++)
            loss += _influence[distance][layer, head];
        return loss;
    }

    /// <summary>
    /// The influence of each weight of a row on the loss. E_ij is A_ij times the distance of g_ij from the mean of the others, and so it is
    /// computed: the published form is 0 / 0 for a weight of nearly 1. One that is all there is has |A · g|.
    /// </summary>
    /// <param name="weights">A row of attention, which sums to 1.</param>
    /// <param name="gradients">The loss's gradient with respect to it.</param>
    /// <param name="after">One element more than they, overwritten.</param>
    /// <param name="influence">Shaped as they, written.</param>
    internal static void Influence(
        ReadOnlySpan<double> weights, ReadOnlySpan<double> gradients, Span<(double Weight, double Product)> after, Span<double> influence)
    {
        // Sums over the keys before and after each: the sum of all less its own would lose what is small beside it.
        after[weights.Length] = default;
        for (int j = weights.Length - 1; j >= 0; j--)
            after[j] = (after[j + 1].Weight + weights[j], after[j + 1].Product + weights[j] * gradients[j]);
        double weight = 0, product = 0;
        for (int j = 0; j < weights.Length; j++)
        {
            double others = weight + after[j + 1].Weight;
            double mean = others > 0 ? (product + after[j + 1].Product) / others : 0;
            influence[j] = weights[j] * Math.Abs(mean - gradients[j]);
            (weight, product) = (weight + weights[j], product + weights[j] * gradients[j]);
        }
    }

    // The gradient of the mean loss of the tail's tokens with respect to the output of each layer's attention, [tokens, numHeads,
    // valueHeadDim].
    private static float[][] Differentiate(ModelDescription description, ModelWeights weights, Tensor head, TailText text)
    {
        using var pass = new GradientPass(description, weights, text.Tokens.Span);
        pass.Forward();
        int first = text.TailStart - 1, count = text.TailLength; // what a token is told by stands before it
        using Tensor targets = Tensor.From(weights.Device, text.Tokens.Span[text.TailStart..], count);
        using Tensor loss = Tensor.Allocate(weights.Device, DataType.Float32, 1);
        using Tensor grad = Tensor.Allocate(weights.Device, DataType.Float32, count, description.HiddenSize);
        CrossEntropy.ForwardBackward(
            pass.Final.Slice(0, first, count), head, targets, new CrossEntropyOutputs { Loss = loss },
            new CrossEntropyGradients { Hidden = grad });
        var gradFinal = new float[pass.Length * description.HiddenSize];
        grad.ToArray<float>().CopyTo(gradFinal, first * description.HiddenSize);
        var gradients = new float[description.Layers.Length][];
        pass.Backward(gradFinal, (layer, attended) => gradients[layer] = [.. attended]);
        return gradients;
    }

    // Adds the influence of one query head: its rows, summed by the distance of the key's block, and all of it.
    private static void AddInfluence(
        CapturedLayer captured, float[] gradients, int layer, int head, int blockSize, HeadScores[] influence, HeadScores total)
    {
        LayerDescription sizes = captured.Description;
        int length = captured.Length, valueHeadDim = sizes.ValueHeadDim, kvHead = head / (sizes.NumHeads / sizes.NumKvHeads);
        double[] weights = new double[length], products = new double[length], row = new double[length];
        var after = new (double, double)[length + 1];
        for (int token = 0; token < length; token++)
        {
            ReadOnlySpan<float> gradient = gradients.AsSpan((token * sizes.NumHeads + head) * valueHeadDim, valueHeadDim);
            if (!gradient.ContainsAnyExcept(0f))
                continue;
            captured.Weigh(token, head, weights.AsSpan(0, token + 1));
            for (int j = 0; j <= token; j++)
                products[j] = CapturedLayer.Dot(gradient, captured.Value(j, kvHead));
            Influence(weights.AsSpan(0, token + 1), products.AsSpan(0, token + 1), after, row.AsSpan(0, token + 1));
            for (int j = 0; j <= token; j++)
            {
                total[layer, head] += row[j];
                if (j >= blockSize)
                    influence[token / blockSize - j / blockSize][layer, head] += row[j];
            }
        }
    }
}
