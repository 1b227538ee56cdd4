using KernelEngine.Models.Formats;

namespace KernelEngine.Models.Conversion;

/// <summary>
/// Cuts the feed-forward networks of a dense model into blocks and fits a router to each (SPT, Gui et al. 2023, arXiv:2312.10365), so
/// that <see cref="RunnerOptions.ActiveFeedForwardBlocks"/> can leave most of the work out. As long as all blocks are used, the model is
/// what it was. The router is a linear regression on which blocks add most to each token of a calibration text.
/// </summary>
public static class FeedForwardBlocks
{
    private const double Penalty = 0.01;

    /// <summary>Converts every layer.</summary>
    /// <param name="device">Where the model reads the text.</param>
    /// <param name="description">The model; gated feed-forward networks of a size that the blocks divide.</param>
    /// <param name="source">Its weights.</param>
    /// <param name="tokens">The text.</param>
    /// <param name="blocks">Blocks of a network, 2 at least.</param>
    /// <param name="activeBlocks">Blocks that a token goes through, fewer than there are.</param>
    /// <param name="grouping">Which units make up a block.</param>
    /// <exception cref="ArgumentException">The sizes do not fit, or the tokens are none, too many, or not of the vocabulary.</exception>
    public static RoutedModel Convert(
        Device device, ModelDescription description, IWeightSource source, ReadOnlySpan<int> tokens, int blocks, int activeBlocks,
        UnitGrouping grouping = UnitGrouping.CoActivation)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(source);
        ArgumentOutOfRangeException.ThrowIfLessThan(blocks, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(activeBlocks, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(activeBlocks, blocks);
        if (tokens.Length == 0)
            throw new ArgumentException("There must be a token to read.", nameof(tokens));
        foreach (LayerDescription layer in description.Layers)
        {
            if (layer.FeedForwardSize == 0 || layer.FeedForwardSize % blocks != 0)
                throw new ArgumentException($"A feed-forward network of {layer.FeedForwardSize} units cannot be cut into {blocks} blocks.", nameof(blocks));
        }
        (float[][] inputs, float[][] units) = ReadText(device, description, source, tokens);
        var weights = new ReplacedWeights(source);
        var routerShare = new double[inputs.Length];
        var bestShare = new double[inputs.Length];
        for (int i = 0; i < inputs.Length; i++)
        {
            var layer = new FeedForwardUnits(description, source, i, units[i]);
            int size = description.Layers[i].FeedForwardSize, hidden = description.HiddenSize;
            int[][] groups = grouping == UnitGrouping.CoActivation
                ? UnitClusters.Find(layer.Activity(), size, blocks)
                : [.. Enumerable.Range(0, size).Chunk(size / blocks)];
            layer.Reorder(weights, [.. groups.SelectMany(group => group)]);
            float[] energy = layer.BlockEnergy(groups);
            (float[] router, float[] bias) = RidgeRegression.Solve(inputs[i], Best(energy, blocks, activeBlocks), hidden, blocks, Penalty);
            weights.Replace(WeightRole.Router, i, router, blocks, hidden);
            weights.Replace(WeightRole.RouterBias, i, bias, blocks);
            routerShare[i] = Share(energy, Gates(inputs[i], router, bias), blocks, activeBlocks);
            bestShare[i] = Share(energy, energy, blocks, activeBlocks);
        }
        return new RoutedModel(
            description with
            {
                Layers = [.. description.Layers.Select(layer => layer with { FeedForwardBlocks = blocks, ActiveFeedForwardBlocks = activeBlocks })],
            },
            weights, routerShare, bestShare);
    }

    // What each layer's feed-forward network takes, [tokens, hiddenSize], and its units, [tokens, feedForwardSize].
    private static (float[][] Inputs, float[][] Units) ReadText(Device device, ModelDescription description, IWeightSource source, ReadOnlySpan<int> tokens)
    {
        float[][] inputs = new float[description.Layers.Length][], units = new float[description.Layers.Length][];
        using ModelWeights weights = ModelWeights.Load(device, description, source);
        using var runner = new ModelRunner(description, weights, new RunnerOptions { ChunkSize = tokens.Length, InitialCapacity = tokens.Length })
        {
            FeedForwardRead = (layer, input, product) => (inputs[layer], units[layer]) = (input.ToArray<float>(), product.ToArray<float>()),
        };
        runner.Prefill(tokens);
        return (inputs, units);
    }

    // [tokens, blocks]: 1 for the blocks of a token with the largest numbers, −1 for the others.
    private static float[] Best(float[] values, int blocks, int activeBlocks)
    {
        var best = new float[values.Length];
        Array.Fill(best, -1);
        for (int first = 0; first < values.Length; first += blocks)
        {
            foreach (int block in Choose(values.AsSpan(first, blocks), activeBlocks))
                best[first + block] = 1;
        }
        return best;
    }

    private static int[] Choose(ReadOnlySpan<float> values, int count)
    {
        float[] copy = values.ToArray();
        return [.. Enumerable.Range(0, copy.Length).OrderByDescending(block => copy[block]).ThenBy(block => block).Take(count)];
    }

    // Of all energy that of the blocks with the largest gates.
    private static double Share(float[] energy, float[] gates, int blocks, int activeBlocks)
    {
        double chosen = 0;
        for (int first = 0; first < energy.Length; first += blocks)
            chosen += Choose(gates.AsSpan(first, blocks), activeBlocks).Sum(block => (double)energy[first + block]);
        double all = energy.Sum(x => (double)x);
        return all > 0 ? chosen / all : 1;
    }

    private static float[] Gates(float[] inputs, float[] router, float[] bias)
    {
        int blocks = bias.Length, hidden = router.Length / blocks, tokens = inputs.Length / hidden;
        var gates = new float[tokens * blocks];
        for (int i = 0; i < gates.Length; i++)
        {
            (int token, int block) = Math.DivRem(i, blocks);
            double sum = bias[block];
            for (int c = 0; c < hidden; c++)
                sum += (double)inputs[token * hidden + c] * router[block * hidden + c];
            gates[i] = (float)sum;
        }
        return gates;
    }
}
