namespace KernelEngine;

/// <summary>
/// A cache under a policy. For each layer and step: new tokens are appended, attention runs over the cells, the policy looks at what
/// it needs and drops tokens; what it drops is never missing from the same step's attention.
/// </summary>
public sealed class KvSession : IDisposable
{
    private readonly KvStep[] _steps;
    private readonly int[] _decoded;

    /// <summary>An empty cache under a policy.</summary>
    /// <param name="device">Where keys and values lie.</param>
    /// <param name="layers">The sizes of each layer.</param>
    /// <param name="numHeads">Query heads of each layer, a multiple of its key/value heads.</param>
    /// <param name="policy">What to keep.</param>
    /// <param name="options">How slots are stored, at the positions of the policy; null for f32.</param>
    /// <exception cref="ArgumentException">The numbers do not fit one another, or an option is not possible.</exception>
    public KvSession(
        Device device, IReadOnlyList<KvLayerShape> layers, IReadOnlyList<int> numHeads, KvPolicy policy, KvCacheOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(layers);
        ArgumentNullException.ThrowIfNull(numHeads);
        ArgumentNullException.ThrowIfNull(policy);
        if (numHeads.Count != layers.Count)
            throw new ArgumentException($"numHeads must have one entry a layer ({layers.Count}) but has {numHeads.Count}.", nameof(numHeads));
        for (int i = 0; i < layers.Count; i++)
        {
            if (numHeads[i] < 1 || numHeads[i] % layers[i].NumKvHeads != 0)
            {
                throw new ArgumentException(
                    $"numHeads must be a multiple of numKvHeads but {numHeads[i]} is no multiple of {layers[i].NumKvHeads}.", nameof(numHeads));
            }
            if (options?.AlibiSlopes is { } slopes && slopes.Count != numHeads[i])
            {
                throw new ArgumentException(
                    $"There must be a slope for each of {numHeads[i]} query heads, not {slopes.Count}.", nameof(options));
            }
        }
        if (policy.Interval < 1)
            throw new ArgumentOutOfRangeException(nameof(policy), policy.Interval, "Evictions are at least one step apart.");
        Cache = new KvCache(device, layers, (options ?? KvCacheOptions.Default) with { Positions = policy.Positions });
        Policy = policy;
        _steps = [.. Cache.Layers.Select((layer, i) => new KvStep(layer, policy, numHeads[i]))];
        _decoded = new int[_steps.Length];
        foreach (KvLayer layer in Cache.Layers)
            policy.Begin(layer);
    }

    private KvSession(KvSession source)
    {
        (Cache, Policy, _decoded) = (source.Cache.Fork(), source.Policy, [.. source._decoded]);
        _steps = [.. source._steps.Select((step, i) => step.Fork(Cache.Layers[i]))];
    }

    /// <summary>The cache.</summary>
    public KvCache Cache { get; }

    /// <summary>What decides what it keeps.</summary>
    public KvPolicy Policy { get; }

    /// <summary>Called with each layer's output, before tokens are dropped; null for no one.</summary>
    public Action<int, TensorView>? Attended { get; set; }

    /// <summary>Where the bytes are.</summary>
    public KvBytes Bytes => Cache.Bytes + new KvBytes(0, 0, 0, _steps.Sum(step => step.StateBytes));

    /// <summary>Takes the memory that a prompt read in chunks needs at the most, where the policy knows it, so that nothing moves.</summary>
    /// <param name="chunkSize">Tokens of a chunk.</param>
    /// <param name="length">Tokens of the prompt.</param>
    public void Reserve(int chunkSize, int length)
    {
        foreach (KvLayer layer in Cache.Layers)
        {
            var slots = new int[layer.Cells.Count];
            for (int h = 0; h < slots.Length; h++)
            {
                int? most = (Policy.Phases & KvPhases.PrefillChunk) != 0 && Policy.AppliesTo(layer.Index, h) ? Policy.MaxSlots(layer.Index, h) : null;
                if (Cache.Options.CodeBits > 0 && !layer.Cells[h].IsRing)
                    most = Math.Min(most ?? int.MaxValue, Cache.Options.FullCount + layer.PageSize);
                slots[h] = (int)Math.Min(length, most is { } bound ? (long)bound + chunkSize : length);
            }
            layer.Reserve(slots);
        }
    }

    /// <summary>Appends the tokens of a step to a layer, attends, and lets the policy drop tokens.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="query">[1, newLength, numHeads, headDim], turned in place</param>
    /// <param name="newKey">[1, newLength, numKvHeads, headDim]</param>
    /// <param name="newValue">[1, newLength, numKvHeads, valueHeadDim]</param>
    /// <param name="output">[1, newLength, numHeads, valueHeadDim], written</param>
    /// <param name="position">Position of the first new token in the sequence.</param>
    /// <param name="phase">One of the phases: which kind of step this is.</param>
    /// <param name="rotary">The layer's rotary embedding.</param>
    /// <param name="options">Scale and soft cap of attention.</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit, or the rotary tables end before a position. Nothing was written or appended then.
    /// </exception>
    public void Run(
        int layer, TensorView query, TensorView newKey, TensorView newValue, TensorView output, int position, KvPhases phase,
        in KvRotary rotary = default, AttentionOptions? options = null)
    {
        KvStep step = _steps[layer];
        RequireFit(step, query, newKey, newValue, output, position, rotary);
        if (Policy.HasStrictWindows && newKey[1] > 1 && step.Layer.IsTurned)
        {
            // A ring out of order, as generated tokens leave it, has no window for several rows.
            for (long t = 0; t < newKey[1]; t++)
            {
                Run(
                    layer, query.Slice(1, t, 1), newKey.Slice(1, t, 1), newValue.Slice(1, t, 1), output.Slice(1, t, 1), position + (int)t,
                    t + 1 < newKey[1] ? KvPhases.PrefillChunk : phase, rotary, options);
            }
            return;
        }
        (step.Phase, step.Options) = (phase, options ?? AttentionOptions.Causal);
        (step.NewQuery, step.NewKey, step.NewValue) = (query, newKey, newValue);
        step.NumTokens = position;
        Policy.Observe(step);
        step.MakeRoom((int)newKey[1]);
        step.Layer.Append(query, newKey, newValue, position, rotary);
        step.NumTokens = position + (int)newKey[1];
        Policy.Record(step);
        int stepsLeft = StepsLeft(layer, phase);
        step.Attend(output, stepsLeft);
        Attended?.Invoke(layer, output);
        step.Remember();
        step.Layer.Settle();
        if (stepsLeft == 1)
        {
            step.AddWeights();
            Policy.Evict(step);
            step.ForgetSums();
        }
        step.Layer.Quantize();
        if (phase == KvPhases.PrefillEnd)
            step.Layer.Release();
    }

    /// <summary>A copy that goes its own way: the tokens, and what the policy learnt of them.</summary>
    public KvSession Fork() => new(this);

    /// <summary>Forgets the tokens from <paramref name="position"/> on.</summary>
    /// <exception cref="InvalidOperationException">A ring has already dropped what would be its window then.</exception>
    public void Truncate(int position)
    {
        Cache.Truncate(position);
        foreach (KvStep step in _steps)
            step.Clear();
    }

    /// <summary>Forgets everything; memory stays.</summary>
    public void Clear()
    {
        Cache.Clear();
        Array.Clear(_decoded);
        foreach (KvStep step in _steps)
            step.Clear();
        foreach (KvLayer layer in Cache.Layers)
            Policy.Begin(layer);
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (KvStep step in _steps)
            step.Dispose();
        Cache.Dispose();
    }

    // What appending or attention would refuse, before the policy has learnt or a token is in the cells: a step that fails did nothing.
    private void RequireFit(
        KvStep step, in TensorView query, in TensorView newKey, in TensorView newValue, in TensorView output, int position, in KvRotary rotary)
    {
        Shapes.RequireRank(newKey, 4, nameof(newKey));
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        int count = Shapes.Size(newKey, 1, nameof(newKey));
        KvLayerShape shape = step.Layer.Shape;
        var problem = new AttentionProblem(
            1, step.NumHeads, shape.NumKvHeads, count, count, shape.HeadDim, shape.ValueHeadDim, true, null, query.Type, newKey.Type);
        OperandChecks.Check(Cache.Device, problem, [query, newKey, newValue, output]);
        if (!rotary.IsPresent)
            return;
        Shapes.RequireRank(rotary.Cos, 2, nameof(rotary.Cos));
        if (position > rotary.Cos[0] - count)
        {
            throw new ArgumentException(
                $"The rotary tables have {rotary.Cos[0]} positions but the step ends at position {position + (long)count}.", nameof(rotary));
        }
    }

    // After how many steps, this one included, the policy drops tokens; more than there can be for never.
    private int StepsLeft(int layer, KvPhases phase)
    {
        if (phase != KvPhases.Decode)
            return (Policy.Phases & (phase | KvPhases.PrefillChunk)) != 0 ? 1 : int.MaxValue;
        return (Policy.Phases & KvPhases.Decode) != 0 ? Policy.Interval - _decoded[layer]++ % Policy.Interval : int.MaxValue;
    }
}
