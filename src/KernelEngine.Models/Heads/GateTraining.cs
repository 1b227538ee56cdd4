namespace KernelEngine.Models.Heads;

/// <summary>
/// DuoAttention's gates (Xiao et al. 2024, arXiv:2410.10819): a number α from 0 to 1 for each key/value head, learnt while the model stays
/// as it is. The model reads a text twice: as it is, and with each head's output α · full + (1 − α) · streaming, where full is that of the
/// first reading, as in the published code. The gates make the mean squared difference of the final hidden states of the texts' tails
/// small, at a price λ for their mean. Heads with high gates need their whole cache (<see cref="HeadScores.SelectFullHeads"/>).
/// </summary>
public sealed class GateTraining
{
    private const double FirstDecay = 0.9, SecondDecay = 0.999, Epsilon = 1e-8; // of AdamW, as its authors have them

    private readonly ModelDescription _description;
    private readonly ModelWeights _weights;
    private readonly GateTrainingOptions _options;
    private readonly double[] _first, _second; // moments of the gradients
    private int _steps;

    /// <summary>All gates are 1 at first.</summary>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="options">Null for the published ones.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NotSupportedException">The layers differ in heads.</exception>
    public GateTraining(ModelDescription description, ModelWeights weights, GateTrainingOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(weights);
        (_description, _weights, _options) = (description, weights, options ?? GateTrainingOptions.Default);
        ArgumentOutOfRangeException.ThrowIfNegative(_options.SinkCount, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.RecentCount, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.Steps, 1, nameof(options));
        _ = AttentionRows.CreateScores(description); // every layer has the same heads
        Gates = new HeadScores(description.Layers.Length, description.Layers[0].NumKvHeads).Map(_ => 1);
        (_first, _second) = (new double[Gates.NumLayers * Gates.NumHeads], new double[Gates.NumLayers * Gates.NumHeads]);
    }

    /// <summary>α of each key/value head.</summary>
    public HeadScores Gates { get; }

    /// <summary>Takes all steps.</summary>
    /// <param name="draw">The text of a step, of whose tail every token counts.</param>
    /// <returns>The gates.</returns>
    /// <exception cref="ArgumentException">A text has no tail, or too many tokens, or one that is not of the vocabulary.</exception>
    public HeadScores Run(Func<int, TailText> draw)
    {
        ArgumentNullException.ThrowIfNull(draw);
        while (_steps < _options.Steps)
            Step(draw(_steps));
        return Gates;
    }

    /// <summary>Learns from one text.</summary>
    /// <returns>The loss before the step.</returns>
    /// <exception cref="ArgumentException">The text has no tail, or too many tokens, or one that is not of the vocabulary.</exception>
    public double Step(TailText text)
    {
        (double loss, HeadScores gradient) = Differentiate(text);
        int step = ++_steps;
        double fifth = _options.Steps / 5.0;
        double rise = Math.Max(step / fifth, 0.1), fall = Math.Max((_options.Steps - step + 1) / fifth, 0.1);
        double rate = _options.LearningRate * Math.Min(1, Math.Min(rise, fall));
        for (int layer = 0; layer < Gates.NumLayers; layer++)
        {
            for (int head = 0; head < Gates.NumHeads; head++)
            {
                int i = layer * Gates.NumHeads + head;
                double slope = gradient[layer, head];
                _first[i] = FirstDecay * _first[i] + (1 - FirstDecay) * slope;
                _second[i] = SecondDecay * _second[i] + (1 - SecondDecay) * slope * slope;
                double mean = _first[i] / (1 - Math.Pow(FirstDecay, step));
                double scale = Math.Sqrt(_second[i] / (1 - Math.Pow(SecondDecay, step)));
                Gates[layer, head] = Math.Clamp(Gates[layer, head] - rate * mean / (scale + Epsilon), 0, 1);
            }
        }
        return loss;
    }

    /// <summary>The loss of a text, and its gradient with respect to each gate.</summary>
    /// <exception cref="ArgumentException">The text has no tail, or too many tokens, or one that is not of the vocabulary.</exception>
    public (double Loss, HeadScores Gradient) Differentiate(TailText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        text.Require(nameof(text));
        using var full = new GradientPass(_description, _weights, text.Tokens.Span);
        using var mixed = new GradientPass(_description, _weights, text.Tokens.Span, (_, _) => (_options.SinkCount, _options.RecentCount));
        full.Forward();
        float[][] outputs = [.. Enumerable.Range(0, Gates.NumLayers).Select(full.ReadAttended)];
        mixed.Forward((layer, values) =>
        {
            for (int i = 0; i < values.Length; i++)
            {
                double gate = Gates[layer, KvHeadOf(layer, i)];
                values[i] = (float)(gate * outputs[layer][i] + (1 - gate) * values[i]);
            }
        });

        (double loss, float[] gradFinal) = Compare(full.Final.ToArray<float>(), mixed.Final.ToArray<float>(), text);
        double share = _options.Price / (Gates.NumLayers * Gates.NumHeads);
        var gradient = new HeadScores(Gates.NumLayers, Gates.NumHeads);
        mixed.Backward(gradFinal, (layer, grad) =>
        {
            float[] streaming = mixed.ReadAttended(layer);
            for (int i = 0; i < grad.Length; i++)
            {
                int head = KvHeadOf(layer, i);
                gradient[layer, head] += (double)grad[i] * (outputs[layer][i] - streaming[i]);
                grad[i] *= (float)(1 - Gates[layer, head]);
            }
        });
        for (int layer = 0; layer < Gates.NumLayers; layer++)
        {
            for (int head = 0; head < Gates.NumHeads; head++)
            {
                gradient[layer, head] += share * Math.Sign(Gates[layer, head]);
                loss += share * Gates[layer, head];
            }
        }
        return (loss, gradient);
    }

    // The mean squared difference over the tokens of the tail and the elements that count, and its gradient.
    private (double Loss, float[] Gradient) Compare(float[] full, float[] mixed, TailText text)
    {
        int size = _description.HiddenSize;
        (int first, int count) = _options.Elements.GetOffsetAndLength(size);
        var gradient = new float[mixed.Length];
        double sum = 0, divisor = (double)text.TailLength * count;
        for (int token = text.TailStart; token < text.Tokens.Length; token++)
        {
            for (int i = token * size + first; i < token * size + first + count; i++)
            {
                double difference = mixed[i] - (double)full[i];
                sum += difference * difference;
                gradient[i] = (float)(2 * difference / divisor);
            }
        }
        return (sum / divisor, gradient);
    }

    // The key/value head of an element of a layer's attention output, [tokens, numHeads, valueHeadDim].
    private int KvHeadOf(int layer, int element)
    {
        LayerDescription sizes = _description.Layers[layer];
        return element / sizes.ValueHeadDim % sizes.NumHeads / (sizes.NumHeads / sizes.NumKvHeads);
    }
}
