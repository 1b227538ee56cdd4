using System.Collections.Immutable;
using KernelEngine.Models.Sampling;

namespace KernelEngine.Models;

/// <summary>
/// Runs a decoder-only transformer on one device: it owns the KV cache and the activations of one sequence. Every step is an
/// operation of the engine; between the token ids that go in and the token id that comes back nothing leaves the device.
/// Belongs to one caller at a time.
/// </summary>
public sealed class ModelRunner : IDisposable
{
    private const int MaxDecodeRows = 4; // beyond that many query rows the kernels for long prompts are the better ones

    private readonly ModelWeights _weights;
    private readonly Device _device;
    private readonly Activations _activations;
    private readonly LayerCache[] _caches = []; // without a policy
    private readonly SelectedAttention[] _selected = []; // where attention looks at a few keys
    private readonly RoutedFeedForward[] _routed = []; // where tokens go through some blocks
    private readonly KvSession? _session; // with one
    private readonly AttentionOptions[] _attentionOptions;
    private readonly Tensor?[] _headWindows; // i32 [numHeads, 2] of each layer, where heads see less than everything
    private readonly Dictionary<RotaryDescription, RotaryTensors> _rotaryTables = [];
    private readonly RotaryTensors?[] _rotary;
    private bool _hasLogits;

    /// <summary>Takes memory for activations and a cache beside weights that are already on a device.</summary>
    /// <exception cref="ArgumentException">The weights are of another model, or an option is out of range.</exception>
    public ModelRunner(ModelDescription description, ModelWeights weights, RunnerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(weights);
        options ??= RunnerOptions.Default;
        ArgumentOutOfRangeException.ThrowIfLessThan(options.ChunkSize, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.InitialCapacity, 1, nameof(options));
        if (options.KvBits > 0 && options.Policy is null)
            throw new ArgumentException($"Codes of {options.KvBits} bits lie in pages, which only a cache under a policy has.", nameof(options));
        if (options.Projections is not null && options.Policy is null)
            throw new ArgumentException("Projected rows lie in pages, which only a cache under a policy has.", nameof(options));
        if (!options.KvType.IsFloat() && options.Policy is null)
            throw new ArgumentException($"Without a policy the cache holds f32, f16 or bf16, not {options.KvType.ToText()}.", nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(options.KeepCount, nameof(options));
        if ((options.Policy is null ? 0 : 1) + (options.HeadWindows is null ? 0 : 1) + (options.KeepCount == 0 ? 0 : 1) > 1)
            throw new ArgumentException("A policy, windows of heads and a number of keys to look at exclude one another.", nameof(options));
        if (description.FindError() is { } error)
            throw new ArgumentException(error, nameof(description));
        int blocks = description.Layers.Min(layer => layer.FeedForwardBlocks);
        if (options.ActiveFeedForwardBlocks < 0 || options.ActiveFeedForwardBlocks > blocks)
        {
            throw new ArgumentException(blocks == 0
                ? "The model has no router for its feed-forward networks."
                : $"A token goes through 1 to {blocks} blocks of this model but was to go through {options.ActiveFeedForwardBlocks}.", nameof(options));
        }
        if (weights.Layers.Count != description.Layers.Length)
        {
            throw new ArgumentException(
                $"The weights have {weights.Layers.Count} layers but the description has {description.Layers.Length}.",
                nameof(weights));
        }
        (Description, _weights, _device) = (description, weights, weights.Device);
        Capacity = Math.Min(options.InitialCapacity, description.MaxPosition);
        _activations = new Activations(_device, description, Math.Min(options.ChunkSize, description.MaxPosition));
        if (options.Policy is { } policy)
        {
            _session = new KvSession(
                _device, [.. description.Layers.Select(layer => new KvLayerShape(layer.NumKvHeads, layer.HeadDim, layer.ValueHeadDim))],
                [.. description.Layers.Select(layer => layer.NumHeads)], policy,
                new KvCacheOptions
                {
                    Type = options.KvType,
                    PageSize = options.PageSize,
                    CodeBits = options.KvBits,
                    FullCount = options.KvFullCount,
                },
                options.Projections);
        }
        else
        {
            _caches = [.. description.Layers.Select(layer => new LayerCache(_device, layer, options.KvType, Capacity))];
        }
        if (options.KeepCount > 0)
        {
            _selected = [.. description.Layers.Select((layer, i) =>
                new SelectedAttention(_device, layer, weights.Layers[i].Codebook, options.KeepCount, _activations.Rows))];
        }
        if (options.ActiveFeedForwardBlocks > 0)
        {
            _routed = [.. description.Layers.Select((layer, i) =>
                new RoutedFeedForward(_device, layer, weights.Layers[i], options.ActiveFeedForwardBlocks, _activations.Rows))];
        }
        _attentionOptions = [.. description.Layers.Select(
            layer => new AttentionOptions { IsCausal = true, SoftmaxScale = layer.AttentionScale })];
        _headWindows = [.. description.Layers.Select((layer, i) => options.HeadWindows is { } window
            ? HeadWindowTable.Create(_device, layer.NumHeads, head => window(i, head))
            : null)];
        _rotary = new RotaryTensors?[description.Layers.Length];
        MakeRotaryTables(Capacity);
    }

    /// <summary>The model.</summary>
    public ModelDescription Description { get; }

    /// <summary>Where it runs.</summary>
    public Device Device => _device;

    /// <summary>Tokens so far: the position of the next one.</summary>
    public int Position { get; private set; }

    /// <summary>Positions that the cache, or under a policy the rotary tables, have memory for.</summary>
    public int Capacity { get; private set; }

    /// <summary>The cache under its policy; null when everything is kept side by side.</summary>
    public KvSession? Session => _session;

    /// <summary>Tokens that still fit: without end when positions are those within the cache.</summary>
    public int RemainingPositions => IsReindexed ? int.MaxValue - Position : Description.MaxPosition - Position;

    /// <summary>Tokens that go through the model together.</summary>
    public int ChunkSize => _activations.Rows;

    /// <summary>Bytes of the KV cache.</summary>
    public long CacheBytes => _session?.Bytes.Total ?? _caches.Sum(cache => cache.Bytes) + _selected.Sum(layer => layer.Bytes);

    /// <summary>Forgets the sequence; memory stays.</summary>
    public void Reset() => Rewind(0);

    /// <summary>Forgets the tokens from <paramref name="position"/> on, to go on from there with others.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The sequence is not that long.</exception>
    /// <exception cref="InvalidOperationException">The policy dropped tokens that would be seen again.</exception>
    public void Rewind(int position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(position, Position);
        if (position == 0)
            _session?.Clear();
        else
            _session?.Truncate(position);
        foreach (SelectedAttention layer in _selected)
            layer.Truncate(position);
        Position = position;
        _hasLogits = false;
    }

    /// <summary>Appends tokens, in chunks. The logits of the last one are then ready.</summary>
    /// <exception cref="ArgumentException">
    /// A token is not of the vocabulary, or the model has not that many positions.
    /// </exception>
    public void Prefill(ReadOnlySpan<int> tokens) => Append(tokens, [], isDecode: false);

    /// <summary>Appends tokens, in chunks, and reads the logits after each.</summary>
    /// <param name="tokens">The tokens to append.</param>
    /// <param name="logits">[tokens, vocabSize], written</param>
    /// <exception cref="ArgumentException">A token is not of the vocabulary, the model has not that many positions, or
    /// <paramref name="logits"/> has another size.</exception>
    public void Prefill(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (logits.Length != (long)tokens.Length * Description.VocabSize)
        {
            throw new ArgumentException(
                $"logits must have shape [tokens={tokens.Length}, vocabSize={Description.VocabSize}] "
                + $"but has {logits.Length} elements.",
                nameof(logits));
        }
        Append(tokens, logits, isDecode: false);
    }

    /// <summary>
    /// Appends one chunk of tokens and hands out what the output head takes: their final hidden states, normalised. No logits are
    /// computed. Allocates nothing on the managed heap while the cache has room.
    /// </summary>
    /// <param name="tokens">At least one token and at most <see cref="ChunkSize"/>.</param>
    /// <returns>f32 [tokens, hiddenSize] on the device; good until tokens are appended again.</returns>
    /// <exception cref="ArgumentException">A token is not of the vocabulary, or there are too many or none.</exception>
    public TensorView PrefillHidden(ReadOnlySpan<int> tokens)
    {
        if (tokens.Length == 0 || tokens.Length > ChunkSize)
            throw new ArgumentException($"A chunk must have 1 to {ChunkSize} tokens but has {tokens.Length}.", nameof(tokens));
        CheckTokens(tokens);
        EnsureCapacity(tokens.Length);
        RunLayers(tokens, KvPhases.PrefillChunk);
        _hasLogits = false;
        Position += tokens.Length;
        return Normalize(_activations.Hidden.Slice(0, 0, tokens.Length), _weights.FinalNorm, tokens.Length);
    }

    /// <summary>
    /// Appends one token. The logits after it are then ready. Allocates nothing on the managed heap while the cache has
    /// room.
    /// </summary>
    /// <exception cref="ArgumentException">The token is not of the vocabulary, or the model has no position left.</exception>
    public void Decode(int token) => Append(new ReadOnlySpan<int>(in token), [], isDecode: true);

    /// <summary>Copies the logits after the last token: [vocabSize].</summary>
    /// <exception cref="InvalidOperationException">There is no token yet.</exception>
    public void ReadLogits(Span<float> logits)
    {
        RequireLogits();
        if (logits.Length != Description.VocabSize)
        {
            throw new ArgumentException(
                $"logits must have vocabSize={Description.VocabSize} elements but has {logits.Length}.", nameof(logits));
        }
        _activations.Logits.CopyTo(logits, 0);
    }

    /// <summary>The logits after the last token: [vocabSize].</summary>
    /// <exception cref="InvalidOperationException">There is no token yet.</exception>
    public float[] GetLogits()
    {
        var logits = new float[Description.VocabSize];
        ReadLogits(logits);
        return logits;
    }

    /// <summary>The token with the largest logit, the lowest of equals.</summary>
    /// <exception cref="InvalidOperationException">There is no token yet, or the logits hold a NaN or only −∞.</exception>
    public int SelectGreedy()
    {
        RequireLogits();
        Layers.ArgMax(_activations.LogitRows(1), _activations.Index);
        return ReadIndex();
    }

    /// <summary>A token drawn by the number <paramref name="uniform"/>, at least 0 and below 1.</summary>
    /// <exception cref="ArgumentException">An option or the number is out of range.</exception>
    /// <exception cref="InvalidOperationException">
    /// There is no token yet, or the logits hold a NaN, or +∞, or only −∞.
    /// </exception>
    public int Sample(SamplingOptions options, float uniform)
    {
        RequireLogits();
        if (!(uniform is >= 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(uniform), uniform, "The number must be at least 0 and below 1.");
        _activations.Uniform.CopyFrom(new ReadOnlySpan<float>(in uniform), 0);
        Layers.Sample(_activations.LogitRows(1), _activations.Uniform, _activations.Index, options);
        return ReadIndex();
    }

    /// <summary>
    /// Appends the prompt and continues it; each token is computed when the caller asks for it. Ends before a stop token, at
    /// the number of tokens asked for, or when the model has no position left. One random number a token, none when greedy.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// The prompt is empty while there is no token yet, or it is no valid prompt, or an option is out of range.
    /// </exception>
    public IEnumerable<int> Generate(ReadOnlyMemory<int> prompt, GenerationOptions? options = null)
    {
        options ??= GenerationOptions.Default;
        ArgumentOutOfRangeException.ThrowIfNegative(options.MaxTokens, nameof(options));
        if (prompt.Length == 0 && !_hasLogits)
        {
            throw new ArgumentException(
                "The prompt is empty and no token came before: begin with the token that begins a sequence.", nameof(prompt));
        }
        return GenerateTokens(prompt, options);
    }

    /// <summary>Gives activations and cache back; the weights stay with their owner. Safe to call twice.</summary>
    public void Dispose()
    {
        _activations.Dispose();
        foreach (LayerCache cache in _caches)
            cache.Dispose();
        foreach (IDisposable layer in (ReadOnlySpan<IDisposable>)[.. _selected, .. _routed])
            layer.Dispose();
        _session?.Dispose();
        foreach (Tensor? windows in _headWindows)
            windows?.Dispose();
        foreach (RotaryTensors tables in _rotaryTables.Values)
            tables.Dispose();
    }

    /// <summary>The codebook that a block's queries and keys are encoded with, [subVectors, 16, subVectorSize].</summary>
    /// <exception cref="InvalidOperationException">Attention looks at all keys, or nothing was read yet that one could be fitted to.</exception>
    public float[] ReadCodebook(int layer) => _selected.Length > 0 && _selected[layer].Codebook is { } codebook
        ? codebook.ToArray<float>()
        : throw new InvalidOperationException("There is no codebook before attention has looked at more keys than it keeps.");

    /// <summary>
    /// Called with what each layer's feed-forward network takes, f32 [rows, hiddenSize], and what its units are then, f32 [rows,
    /// feedForwardSize]; not where it is routed.
    /// </summary>
    internal Action<int, TensorView, TensorView>? FeedForwardRead { get; init; }

    internal Tensor Head => _weights.Head;

    private IEnumerable<int> GenerateTokens(ReadOnlyMemory<int> prompt, GenerationOptions options)
    {
        ImmutableArray<int> stops = options.StopTokens.IsDefault ? Description.EosTokenIds : options.StopTokens;
        bool isGreedy = options.Sampling.Temperature == 0;
        var random = new Xorshift64Star(options.Seed);
        Prefill(prompt.Span);
        for (int count = 0; count < options.MaxTokens; count++)
        {
            int token = isGreedy ? SelectGreedy() : Sample(options.Sampling, random.NextSingle());
            if (stops.Contains(token))
                yield break;
            yield return token;
            if (RemainingPositions == 0 || count + 1 == options.MaxTokens)
                yield break;
            Decode(token);
        }
    }

    private void Append(ReadOnlySpan<int> tokens, Span<float> logits, bool isDecode)
    {
        CheckTokens(tokens);
        if (!IsReindexed)
            EnsureCapacity(tokens.Length);
        if (Position == 0)
            _session?.Reserve(_activations.Rows, tokens.Length);
        while (tokens.Length > 0)
        {
            int rows = Math.Min(tokens.Length, _activations.Rows);
            bool isLast = rows == tokens.Length;
            if (IsReindexed)
                EnsureCapacity(rows);
            RunLayers(tokens[..rows], isDecode ? KvPhases.Decode : isLast ? KvPhases.PrefillEnd : KvPhases.PrefillChunk);
            if (logits.Length > 0)
            {
                int chunk = rows * Description.VocabSize;
                ComputeLogits(rows, 0);
                _activations.Logits.CopyTo(logits[..chunk], 0);
                logits = logits[chunk..];
            }
            if (isLast)
                ComputeLogits(rows, rows - 1);
            _hasLogits = isLast;
            Position += rows;
            tokens = tokens[rows..];
        }
    }

    private bool IsReindexed => _session is not null && _session.Policy.Positions != KvPositions.Original;

    private void RunLayers(ReadOnlySpan<int> tokens, KvPhases phase)
    {
        int rows = tokens.Length;
        int position = Position;
        _activations.Tokens.CopyFrom(tokens, 0);
        _activations.Position.CopyFrom(new ReadOnlySpan<int>(in position), 0);
        TensorView hidden = _activations.Hidden.Slice(0, 0, rows);
        Layers.Embedding(_activations.Tokens.Slice(0, 0, rows), _weights.Embedding, hidden);
        for (int i = 0; i < Description.Layers.Length; i++)
        {
            LayerDescription layer = Description.Layers[i];
            RunAttention(i, layer, hidden, rows, phase);
            if (layer.FeedForwardSize > 0)
                RunFeedForward(i, layer, hidden, rows);
        }
    }

    private void RunAttention(int index, LayerDescription layer, TensorView hidden, int rows, KvPhases phase)
    {
        LayerWeights weights = _weights.Layers[index];
        TensorView input = Normalize(hidden, weights.AttentionNorm, rows);
        int queryWidth = layer.NumHeads * layer.HeadDim, keyWidth = layer.NumKvHeads * layer.HeadDim, valueWidth = layer.NumKvHeads * layer.ValueHeadDim;
        TensorView projected = _activations.QueryKeyValue.Rows(rows, queryWidth + keyWidth + valueWidth);
        Linear.Forward(input, weights.QueryKeyValue, projected);
        TensorView query = projected.Slice(1, 0, queryWidth).Split(1, layer.HeadDim).Split(0, rows);
        TensorView key = projected.Slice(1, queryWidth, keyWidth).Split(1, layer.HeadDim).Split(0, rows);
        TensorView value = projected.Slice(1, queryWidth + keyWidth, valueWidth).Split(1, layer.ValueHeadDim).Split(0, rows);
        TensorView output = _activations.Attended.Rows(rows, layer.NumHeads * layer.ValueHeadDim);
        TensorView outputHeads = output.Reshape(1, rows, layer.NumHeads, layer.ValueHeadDim);
        if (_session is null)
            AttendToAll(index, query, key, value, outputHeads);
        else
            _session.Run(index, query, key, value, outputHeads, Position, phase, _rotary[index]?.AsKvRotary() ?? default, _attentionOptions[index]);
        TensorView branch = _activations.Branch.Slice(0, 0, rows);
        Linear.Forward(output, weights.AttentionOutput, branch);
        Layers.ResidualAdd(hidden, branch);
    }

    private void AttendToAll(int index, TensorView query, TensorView key, TensorView value, TensorView output)
    {
        LayerCache cache = _caches[index];
        Attention.Append(
            key, value, cache.Keys(Capacity), cache.Values(Capacity), _activations.Position,
            _rotary[index] is { } rotary ? new AttentionAppendInputs { Query = query, Cos = rotary.Cos, Sin = rotary.Sin } : default,
            _rotary[index]?.IsInterleaved ?? false);
        int rows = (int)query[1], length = Position + rows;
        if (_selected.Length > 0 && _selected[index].TryAttend(query, cache, length, Capacity, output))
            return;
        var inputs = new AttentionInputs { HeadWindows = _headWindows[index]?.View ?? default };
        if (rows <= MaxDecodeRows)
            Attention.Decode(query, cache.Keys(length), cache.Values(length), output, _attentionOptions[index], default, inputs);
        else
            Attention.Forward(query, cache.Keys(length), cache.Values(length), output, _attentionOptions[index], default, inputs);
    }

    private void RunFeedForward(int index, LayerDescription layer, TensorView hidden, int rows)
    {
        LayerWeights weights = _weights.Layers[index];
        TensorView input = Normalize(hidden, weights.FeedForwardNorm, rows);
        TensorView branch = _activations.Branch.Slice(0, 0, rows);
        if (_routed.Length > 0)
        {
            _routed[index].Run(input, branch);
            Layers.ResidualAdd(hidden, branch);
            return;
        }
        TensorView gateUp = _activations.GateUp.Rows(rows, 2 * layer.FeedForwardSize);
        TensorView product = _activations.Product.Rows(rows, layer.FeedForwardSize);
        Linear.Forward(input, weights.GateUp!, gateUp);
        Layers.SwiGlu(
            gateUp.Slice(1, 0, layer.FeedForwardSize), gateUp.Slice(1, layer.FeedForwardSize, layer.FeedForwardSize), product);
        FeedForwardRead?.Invoke(index, input, product);
        Linear.Forward(product, weights.Down!, branch);
        Layers.ResidualAdd(hidden, branch);
    }

    // Logits of the rows first .. rows - 1 of the hidden state, into the first rows of the logits.
    private void ComputeLogits(int rows, int first)
    {
        int count = rows - first;
        TensorView input = Normalize(_activations.Hidden.Slice(0, first, count), _weights.FinalNorm, count);
        Linear.Forward(input, _weights.Head, _activations.LogitRows(count));
    }

    private TensorView Normalize(TensorView hidden, Tensor? weight, int rows)
    {
        if (weight is null)
            return hidden;
        TensorView normed = _activations.Normed.Slice(0, 0, rows);
        Layers.RmsNorm(hidden, weight, normed, Description.NormEpsilon);
        return normed;
    }

    private void CheckTokens(ReadOnlySpan<int> tokens)
    {
        if (tokens.Length > RemainingPositions)
        {
            throw new ArgumentException(
                $"The model has {Description.MaxPosition} positions, of which {Position} are taken: "
                + $"{tokens.Length} more tokens do not fit.",
                nameof(tokens));
        }
        for (int i = 0; i < tokens.Length; i++)
        {
            if ((uint)tokens[i] >= (uint)Description.VocabSize)
            {
                throw new ArgumentException(
                    $"Tokens must be 0 to {Description.VocabSize - 1} but number {i} is {tokens[i]}.", nameof(tokens));
            }
        }
    }

    // Sees to it that so many new tokens have their positions.
    private void EnsureCapacity(int newTokens)
    {
        long length = _session?.PositionsFor(Position, newTokens) ?? (long)Position + newTokens;
        if (length <= Capacity)
            return;
        if (length > Description.MaxPosition)
        {
            throw new ArgumentException(
                $"The cache holds {length - newTokens} tokens and the model has {Description.MaxPosition} positions: "
                + $"{newTokens} more do not fit. A smaller budget or chunk leaves room.", nameof(newTokens));
        }
        long capacity = Capacity;
        while (capacity < length)
            capacity *= 2;
        int grown = (int)Math.Min(capacity, Description.MaxPosition);
        foreach (LayerCache cache in _caches)
            cache.Grow(grown, Position);
        MakeRotaryTables(grown);
        Capacity = grown;
    }

    // Layers with equal rotary embeddings share one table.
    private void MakeRotaryTables(int capacity)
    {
        foreach (RotaryTensors tables in _rotaryTables.Values)
            tables.Dispose();
        _rotaryTables.Clear();
        for (int i = 0; i < _rotary.Length; i++)
        {
            if (Description.Layers[i].Rotary is not { } rotary)
                continue;
            if (!_rotaryTables.TryGetValue(rotary, out RotaryTensors? tables))
                _rotaryTables.Add(rotary, tables = new RotaryTensors(_device, rotary, capacity));
            _rotary[i] = tables;
        }
    }

    private void RequireLogits()
    {
        if (!_hasLogits)
            throw new InvalidOperationException("There are no logits before a token is appended.");
    }

    private int ReadIndex()
    {
        int index = 0;
        _activations.Index.CopyTo(new Span<int>(ref index), 0);
        return index >= 0
            ? index
            : throw new InvalidOperationException(
                $"No token can be chosen after position {Position - 1}: the logits hold a NaN or an infinity, or only −∞.");
    }
}
