namespace KernelEngine;

/// <summary>
/// A cache under a policy. For each layer and step: new tokens are appended, attention runs over the cells, the policy looks at what
/// it needs and drops tokens; what it drops is never missing from the same step's attention.
/// </summary>
public sealed class KvSession : IDisposable
{
    private readonly KvStep[] _steps;
    private readonly int[] _decoded;
    private readonly KvLayerShape[] _shapes; // of the rows that come in
    private readonly IReadOnlyList<KvProjection>? _projections;
    private readonly KvProjectedRows _projected;

    /// <summary>An empty cache under a policy.</summary>
    /// <param name="device">Where keys and values lie.</param>
    /// <param name="layers">The sizes of each layer.</param>
    /// <param name="numHeads">Query heads of each layer, a multiple of its key/value heads.</param>
    /// <param name="policy">What to keep.</param>
    /// <param name="options">How slots are stored, at the positions of the policy; null for f32.</param>
    /// <param name="projections">What makes the rows of each layer shorter, which stays the caller's; null to store them whole.</param>
    /// <exception cref="ArgumentException">The numbers do not fit one another, or an option is not possible.</exception>
    /// <exception cref="NotSupportedException">Rows are to be shorter, and the policy turns stored keys or needs them whole.</exception>
    public KvSession(
        Device device, IReadOnlyList<KvLayerShape> layers, IReadOnlyList<int> numHeads, KvPolicy policy, KvCacheOptions? options = null,
        IReadOnlyList<KvProjection>? projections = null)
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
        (_shapes, _projections, _projected) = ([.. layers], projections, new KvProjectedRows(device));
        if (projections is not null && !projections.Select(projection => projection.Shape).SequenceEqual(layers))
            throw new ArgumentException("projections must have one entry a layer, of its sizes.", nameof(projections));
        if (projections is not null && (policy.Positions != KvPositions.Original || policy.NeedsWholeKeys))
        {
            throw new NotSupportedException(
                $"'{policy.Name}' needs whole keys: where rows are projected, keys were turned before and stay at their positions.");
        }
        IReadOnlyList<KvLayerShape> stored = projections is null ? layers : [.. projections.Select(projection => projection.Stored)];
        Cache = new KvCache(device, stored, (options ?? KvCacheOptions.Default) with { Positions = policy.Positions });
        Policy = policy;
        _steps = [.. Cache.Layers.Select((layer, i) => new KvStep(layer, policy, numHeads[i]))];
        _decoded = new int[_steps.Length];
        foreach (KvLayer layer in Cache.Layers)
            policy.Begin(layer);
    }

    private KvSession(KvSession source)
    {
        (Cache, Policy, _decoded) = (source.Cache.Fork(), source.Policy, [.. source._decoded]);
        (_shapes, _projections, _projected) = (source._shapes, source._projections, new KvProjectedRows(Cache.Device));
        _steps = [.. source._steps.Select((step, i) => step.Fork(Cache.Layers[i]))];
    }

    /// <summary>The cache.</summary>
    public KvCache Cache { get; }

    /// <summary>What decides what it keeps.</summary>
    public KvPolicy Policy { get; }

    /// <summary>Called with each layer's output, before tokens are dropped; null for no one.</summary>
    public Action<int, TensorView>? Attended { get; set; }

    /// <summary>Where the bytes are.</summary>
    public KvBytes Bytes => Cache.Bytes + new KvBytes(0, 0, _projected.Bytes, _steps.Sum(step => step.StateBytes));

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
    /// <param name="newKey">[1, newLength, numKvHeads, headDim]; where rows are projected turned in place too</param>
    /// <param name="newValue">[1, newLength, numKvHeads, valueHeadDim]</param>
    /// <param name="output">[1, newLength, numHeads, valueHeadDim], written; this and the others are f32 where rows are projected</param>
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
        if (_projections is not null && step.Options.SoftmaxScale is null)
            step.Options = step.Options with { SoftmaxScale = 1f / MathF.Sqrt(_shapes[layer].HeadDim) }; // shorter rows would have another
        (step.NewQuery, step.NewKey, step.NewValue, step.Rotary) = (query, newKey, newValue, rotary);
        step.NumTokens = position;
        int stepsLeft;
        try
        {
            Policy.Observe(step);
            step.MakeRoom((int)newKey[1]);
            if (_projections is null)
                step.Layer.Append(query, newKey, newValue, position, rotary);
            else
                AppendProjected(step, _projections[layer], position);
            step.NumTokens = position + (int)newKey[1];
            Policy.Record(step);
            stepsLeft = StepsLeft(layer, phase);
            step.Attend(_projections is null ? output : _projected.Output, stepsLeft);
            _projections?[layer].RestoreValues(_projected.Output, output);
            Attended?.Invoke(layer, output);
        }
        finally
        {
            step.Layer.SeenPages = null; // what a policy left out is left out of this step alone
        }
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

    /// <summary>Positions that rotary tables must have for a step: those of the tokens, or those within what attention sees.</summary>
    /// <param name="position">Position of the first new token in the sequence.</param>
    /// <param name="count">New tokens.</param>
    public long PositionsFor(int position, int count)
    {
        long positions = 0;
        foreach (KvLayer layer in Cache.Layers)
            positions = Math.Max(positions, PositionsFor(layer, position, count));
        return positions;
    }

    /// <summary>A copy that goes its own way: the tokens, and what the policy learnt of them.</summary>
    public KvSession Fork() => new(this);

    /// <summary>Forgets the tokens from <paramref name="position"/> on.</summary>
    /// <exception cref="InvalidOperationException">A ring has already dropped what would be its window then.</exception>
    public void Truncate(int position)
    {
        Cache.Truncate(position);
        foreach (KvStep step in _steps)
            step.Truncate(position);
    }

    /// <summary>Forgets everything; memory stays.</summary>
    public void Clear()
    {
        Cache.Clear();
        Array.Clear(_decoded);
        foreach (KvStep step in _steps)
            step.Truncate(0);
        foreach (KvLayer layer in Cache.Layers)
            Policy.Begin(layer);
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (KvStep step in _steps)
            step.Dispose();
        Cache.Dispose();
        _projected.Dispose();
    }

    // From here on the step is one of shorter rows that do not turn.
    private void AppendProjected(KvStep step, KvProjection projection, int position)
    {
        _projected.Project(projection, step.NewQuery, step.NewKey, step.NewValue, position, step.Rotary);
        (step.NewQuery, step.NewKey, step.NewValue) = (_projected.Query, _projected.Key, _projected.Value);
        step.Layer.Append(step.NewQuery, step.NewKey, step.NewValue, position);
    }

    // What appending or attention would refuse, before the policy has learnt or a token is in the cells: a step that fails did nothing.
    private void RequireFit(
        KvStep step, in TensorView query, in TensorView newKey, in TensorView newValue, in TensorView output, int position, in KvRotary rotary)
    {
        Shapes.RequireRank(newKey, 4, nameof(newKey));
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        int count = Shapes.Size(newKey, 1, nameof(newKey));
        KvLayerShape shape = _shapes[step.Layer.Index];
        var problem = new AttentionProblem(
            1, step.NumHeads, shape.NumKvHeads, count, count, shape.HeadDim, shape.ValueHeadDim, true, null, query.Type, newKey.Type);
        OperandChecks.Check(Cache.Device, problem, [query, newKey, newValue, output]);
        if (_projections is not null && (query.Type != DataType.Float32 || newKey.Type != DataType.Float32))
        {
            throw new ArgumentException(
                $"Rows are projected from f32, not from {query.Type.ToText()} and {newKey.Type.ToText()}.", nameof(query));
        }
        if (!rotary.IsPresent)
            return;
        Shapes.RequireRank(rotary.Cos, 2, nameof(rotary.Cos));
        long positions = PositionsFor(step.Layer, position, count);
        if (positions > rotary.Cos[0])
        {
            throw new ArgumentException(
                $"The rotary tables have {rotary.Cos[0]} positions but the step ends at position {positions}.", nameof(rotary));
        }
    }

    private long PositionsFor(KvLayer layer, int position, int count)
    {
        if (Policy.Positions == KvPositions.Original)
            return (long)position + count;
        long slots = 0;
        foreach (KvCell cell in layer.Cells)
            slots = Math.Max(slots, (long)cell.NextIndex(count) + count);
        return count == 1 && Policy.MaxSeen(layer) is { } seen ? Math.Min(slots, seen) : slots;
    }

    // After how many steps, this one included, the policy drops tokens; more than there can be for never.
    private int StepsLeft(int layer, KvPhases phase)
    {
        if (phase != KvPhases.Decode)
            return (Policy.Phases & (phase | KvPhases.PrefillChunk)) != 0 ? 1 : int.MaxValue;
        return (Policy.Phases & KvPhases.Decode) != 0 ? Policy.Interval - _decoded[layer]++ % Policy.Interval : int.MaxValue;
    }
}
