namespace KernelEngine.Models.Heads;

/// <summary>
/// One reading of a text by a model whose weights stay as they are, forward and backward: what a loss of the final hidden states loses or
/// gains with the output of each head. Between the two passes it holds what the layers computed; beside them nothing grows with the
/// square of the length. Projections, attention and feed-forward networks run on the device; norms go back on the host.
/// </summary>
internal sealed class GradientPass : IDisposable
{
    private readonly ModelDescription _description;
    private readonly ModelWeights _weights;
    private readonly Device _device;
    private readonly Tensor _tokens;
    private readonly LayerPass[] _layers;
    private readonly Tensor _hidden; // the residual stream, in the end before the final norm
    private readonly Tensor _normed, _branch, _gradNormed;

    /// <summary>Takes memory for a text.</summary>
    /// <param name="description">The model.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="tokens">At least one token.</param>
    /// <param name="window">
    /// The first and the last keys, its own included, that a row of a query head (layer, head) sees; null, or for null, all.
    /// </param>
    /// <exception cref="ArgumentException">The tokens are none or too many.</exception>
    public GradientPass(
        ModelDescription description, ModelWeights weights, ReadOnlySpan<int> tokens,
        Func<int, int, (int SinkCount, int RecentCount)?>? window = null)
    {
        if (tokens.Length < 1 || tokens.Length > description.MaxPosition)
            throw new ArgumentException($"A text must have 1 to {description.MaxPosition} tokens but has {tokens.Length}.", nameof(tokens));
        (_description, _weights, _device, Length) = (description, weights, weights.Device, tokens.Length);
        _tokens = Tensor.From(_device, tokens, Length);
        _layers = [.. description.Layers.Select(
            (layer, i) => new LayerPass(_device, description.HiddenSize, layer, Length, window is null ? null : head => window(i, head)))];
        (_hidden, Final) = (Rows(description.HiddenSize), Rows(description.HiddenSize));
        (_normed, _branch, _gradNormed) = (Rows(description.HiddenSize), Rows(description.HiddenSize), Rows(description.HiddenSize));
    }

    /// <summary>Tokens.</summary>
    public int Length { get; }

    /// <summary>f32 [tokens, hiddenSize]: the hidden states that the output head takes, normalised.</summary>
    public Tensor Final { get; }

    /// <summary>The output of a layer's attention, [tokens, numHeads, valueHeadDim], as it was before it was changed.</summary>
    public float[] ReadAttended(int layer) => _layers[layer].Attended.ToArray<float>();

    /// <summary>Runs the model over the text.</summary>
    /// <param name="change">
    /// Called with each layer's attention output, [tokens, numHeads, valueHeadDim], to change it; null to leave it.
    /// </param>
    public void Forward(Action<int, float[]>? change = null)
    {
        Layers.Embedding(_tokens, _weights.Embedding, _hidden);
        for (int i = 0; i < _layers.Length; i++)
        {
            LayerPass pass = _layers[i];
            LayerWeights weights = _weights.Layers[i];
            Copy(_hidden, pass.Input);
            Linear.Forward(Normalize(_hidden, weights.AttentionNorm, _normed), weights.QueryKeyValue, pass.QueryKeyValue);
            pass.Turn(back: false, pass.QueryKeyValue);
            pass.Attend();
            Tensor attended = pass.Attended;
            if (change is not null)
            {
                float[] values = attended.ToArray<float>();
                change(i, values);
                attended = pass.Changed;
                attended.CopyFrom<float>(values);
            }
            Linear.Forward(attended, weights.AttentionOutput, _branch);
            Layers.ResidualAdd(_hidden, _branch);
            if (pass.Middle is null)
                continue;
            Copy(_hidden, pass.Middle);
            TensorView input = Normalize(_hidden, weights.FeedForwardNorm, _normed);
            FeedForward.Forward(input, pass.Units(weights), _branch, FeedForwardActivation.SwiGlu);
            Layers.ResidualAdd(_hidden, _branch);
        }
        if (Normalize(_hidden, _weights.FinalNorm, Final).Storage != Final.View.Storage)
            Copy(_hidden, Final);
    }

    /// <summary>Goes back from the gradient of <see cref="Final"/>, after <see cref="Forward"/>.</summary>
    /// <param name="gradFinal">The loss's gradient with respect to <see cref="Final"/>, [tokens, hiddenSize].</param>
    /// <param name="seen">
    /// Called, last layer first, with the loss's gradient with respect to each layer's attention output as it went on, [tokens, numHeads,
    /// valueHeadDim]. Where the output was changed on the way forward, it must become that with respect to <see cref="ReadAttended"/>.
    /// </param>
    public void Backward(float[] gradFinal, Action<int, float[]> seen)
    {
        float[] grad = new float[gradFinal.Length];
        AddNormGradient(_hidden, _weights.FinalNorm, gradFinal, grad);
        for (int i = _layers.Length - 1; i >= 0; i--)
        {
            LayerPass pass = _layers[i];
            LayerWeights weights = _weights.Layers[i];
            if (pass.Middle is { } middle)
            {
                _branch.CopyFrom<float>(grad);
                TensorView input = Normalize(middle, weights.FeedForwardNorm, _normed);
                FeedForward.Backward(
                    input, pass.Units(weights), _branch, new FeedForwardGradients { Hidden = _gradNormed }, FeedForwardActivation.SwiGlu);
                AddNormGradient(middle, weights.FeedForwardNorm, _gradNormed.ToArray<float>(), grad);
            }
            _branch.CopyFrom<float>(grad);
            Linear.Backward(_branch, pass.Attended, weights.AttentionOutput, pass.GradAttended);
            float[] gradAttended = pass.GradAttended.ToArray<float>();
            seen(i, gradAttended);
            if (i == 0)
                return; // nothing looks at what lies below
            pass.GradAttended.CopyFrom<float>(gradAttended);
            pass.GoBack();
            pass.Turn(back: true, pass.GradQueryKeyValue);
            Linear.Backward(pass.GradQueryKeyValue, pass.Input, weights.QueryKeyValue, _gradNormed);
            AddNormGradient(pass.Input, weights.AttentionNorm, _gradNormed.ToArray<float>(), grad);
        }
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (IDisposable part in (ReadOnlySpan<IDisposable>)[_tokens, .. _layers, _hidden, Final, _normed, _branch, _gradNormed])
            part.Dispose();
    }

    private Tensor Rows(int width) => Tensor.Allocate(_device, DataType.Float32, Length, width);

    private static void Copy(Tensor from, Tensor to) => to.CopyFrom(from, 0, 0, from.Layout.Count);

    private TensorView Normalize(Tensor hidden, Tensor? weight, Tensor normed)
    {
        if (weight is null)
            return hidden;
        Layers.RmsNorm(hidden, weight, normed, _description.NormEpsilon);
        return normed;
    }

    // grad += the gradient of a norm's input x: of y = w · x / r with r² = mean(x²) + ε that is
    // (w · gradY − x · mean(w · gradY · x) / r²) / r; of no norm it is gradY.
    private void AddNormGradient(Tensor input, Tensor? weight, float[] gradOutput, float[] grad)
    {
        int size = _description.HiddenSize;
        float[]? weights = weight?.ToArray<float>();
        float[] rows = weight is null ? [] : input.ToArray<float>();
        for (int start = 0; start < grad.Length; start += size)
        {
            ReadOnlySpan<float> gradRow = gradOutput.AsSpan(start, size);
            Span<float> target = grad.AsSpan(start, size);
            if (weights is null)
            {
                for (int i = 0; i < size; i++)
                    target[i] += gradRow[i];
                continue;
            }
            ReadOnlySpan<float> x = rows.AsSpan(start, size);
            double square = 0, product = 0;
            for (int i = 0; i < size; i++)
                (square, product) = (square + (double)x[i] * x[i], product + (double)weights[i] * gradRow[i] * x[i]);
            double meanSquare = square / size + _description.NormEpsilon, root = Math.Sqrt(meanSquare);
            for (int i = 0; i < size; i++)
                target[i] += (float)((weights[i] * (double)gradRow[i] - x[i] * product / size / meanSquare) / root);
        }
    }

    // What one layer computed, and room for its gradients.
    private sealed class LayerPass : IDisposable
    {
        private readonly LayerDescription _layer;
        private readonly AttentionOptions _options;
        private readonly Tensor _lse;
        private readonly Tensor? _windows;
        private readonly RotaryTensors? _rotary;
        private readonly Tensor? _sinBack;

        public LayerPass(
            Device device, int hiddenSize, LayerDescription layer, int length, Func<int, (int SinkCount, int RecentCount)?>? window)
        {
            (_layer, _options) = (layer, new AttentionOptions { IsCausal = true, SoftmaxScale = layer.AttentionScale });
            int width = layer.NumHeads * layer.HeadDim + layer.NumKvHeads * (layer.HeadDim + layer.ValueHeadDim);
            (Input, QueryKeyValue, GradQueryKeyValue) = (Rows(hiddenSize), Rows(width), Rows(width));
            int attended = layer.NumHeads * layer.ValueHeadDim;
            (Attended, Changed, GradAttended) = (Rows(attended), Rows(attended), Rows(attended));
            Middle = layer.FeedForwardSize > 0 ? Rows(hiddenSize) : null;
            _lse = Tensor.Allocate(device, DataType.Float32, 1, layer.NumHeads, length);
            _windows = window is null ? null : HeadWindowTable.Create(device, layer.NumHeads, window);
            if (layer.Rotary is { } rotary)
            {
                _rotary = new RotaryTensors(device, rotary, length);
                _sinBack = Tensor.From<float>(device, [.. _rotary.Sin.ToArray<float>().Select(sin => -sin)], length, rotary.Dimensions / 2);
            }

            Tensor Rows(int columns) => Tensor.Allocate(device, DataType.Float32, length, columns);
        }

        /// <summary>f32 [tokens, hiddenSize]: the residual stream before the layer.</summary>
        public Tensor Input { get; }

        /// <summary>f32 [tokens, hiddenSize]: the residual stream before the feed-forward network; null without one.</summary>
        public Tensor? Middle { get; }

        /// <summary>f32 [tokens, width]: queries and keys, turned, and values.</summary>
        public Tensor QueryKeyValue { get; }

        public Tensor GradQueryKeyValue { get; }

        /// <summary>f32 [tokens, numHeads · valueHeadDim]: what attention gave.</summary>
        public Tensor Attended { get; }

        /// <summary>Shaped as it: what went on in its place.</summary>
        public Tensor Changed { get; }

        public Tensor GradAttended { get; }

        private AttentionInputs Inputs => new() { HeadWindows = _windows?.View ?? default };

        public FeedForwardWeights Units(LayerWeights weights) => new()
        {
            Gate = weights.GateUp!.Slice(0, 0, _layer.FeedForwardSize),
            Up = weights.GateUp!.Slice(0, _layer.FeedForwardSize, _layer.FeedForwardSize),
            Down = weights.Down!,
        };

        // Turns queries and keys to their positions, or their gradients back: the transpose of a turn is the turn the other way.
        public void Turn(bool back, Tensor rows)
        {
            if (_rotary is null)
                return;
            foreach (TensorView part in (ReadOnlySpan<TensorView>)[Query(rows), Key(rows)])
                Layers.Rotary(part.Join(0), _rotary.Cos, back ? _sinBack! : _rotary.Sin, 0, _rotary.IsInterleaved);
        }

        public void Attend() => Attention.Forward(
            Query(QueryKeyValue), Key(QueryKeyValue), Value(QueryKeyValue), Heads(Attended), _options, _lse, Inputs);

        public void GoBack() => Attention.Backward(
            Query(QueryKeyValue), Key(QueryKeyValue), Value(QueryKeyValue), Heads(Attended), _lse, Heads(GradAttended),
            new AttentionGradients
            {
                Query = Query(GradQueryKeyValue),
                Key = Key(GradQueryKeyValue),
                Value = Value(GradQueryKeyValue),
            }, _options, default, Inputs);

        public void Dispose()
        {
            foreach (IDisposable? tensor in (ReadOnlySpan<IDisposable?>)
                [Input, Middle, QueryKeyValue, GradQueryKeyValue, Attended, Changed, GradAttended, _lse, _windows, _rotary, _sinBack])
            {
                tensor?.Dispose();
            }
        }

        private TensorView Query(Tensor rows) => Part(rows, 0, _layer.NumHeads, _layer.HeadDim);

        private TensorView Key(Tensor rows) => Part(rows, _layer.NumHeads * _layer.HeadDim, _layer.NumKvHeads, _layer.HeadDim);

        private TensorView Value(Tensor rows) =>
            Part(rows, (_layer.NumHeads + _layer.NumKvHeads) * _layer.HeadDim, _layer.NumKvHeads, _layer.ValueHeadDim);

        private TensorView Heads(Tensor rows) => Part(rows, 0, _layer.NumHeads, _layer.ValueHeadDim);

        // [1, tokens, heads, headDim] within the rows.
        private static TensorView Part(Tensor rows, int first, int heads, int headDim) =>
            rows.Slice(1, first, heads * headDim).Split(1, headDim).Split(0, rows.Layout[0]);
    }
}
