namespace KernelEngine;

/// <summary>
/// One layer under a policy at one step: what the policy may look at, and the tools that score and choose slots on the device.
/// </summary>
public sealed class KvStep : IDisposable
{
    private const int MaxStreamedRows = 32; // so few rows do not pay for packing the keys and values

    private readonly KvQueryWindow? _window;
    private readonly DeviceTable<int> _budgets;
    private Tensor? _scores, _weights, _kept, _keptCounts, _output, _lse;
    private int _unsummed;

    internal KvStep(KvLayer layer, KvPolicy policy, int numHeads)
    {
        (Layer, Policy, NumHeads, _budgets) = (layer, policy, numHeads, new(layer.Device));
        int window = Math.Max(policy.QueryWindow, policy.SumsWeights ? policy.Interval : 0);
        _window = window > 0 ? new KvQueryWindow(layer.Device, window) : null;
    }

    /// <summary>The layer.</summary>
    public KvLayer Layer { get; }

    /// <summary>The policy.</summary>
    public KvPolicy Policy { get; }

    /// <summary>Query heads of the layer.</summary>
    public int NumHeads { get; }

    /// <summary>Where in the sequence this step is: within a prompt, at its end, or after it.</summary>
    public KvPhases Phase { get; internal set; }

    /// <summary>Tokens of the sequence: those of this step are among them once they were appended.</summary>
    public int NumTokens { get; internal set; }

    /// <summary>Scale and soft cap of the layer's attention.</summary>
    public AttentionOptions Options { get; internal set; } = AttentionOptions.Causal;

    /// <summary>The queries of the new tokens, [1, newLength, numHeads, headDim]; turned once they were appended.</summary>
    public TensorView NewQuery { get; internal set; }

    /// <summary>The keys of the new tokens as projected, not turned, [1, newLength, numKvHeads, headDim].</summary>
    public TensorView NewKey { get; internal set; }

    /// <summary>The values of the new tokens, [1, newLength, numKvHeads, valueHeadDim].</summary>
    public TensorView NewValue { get; internal set; }

    /// <summary>What the policy itself keeps of this layer between steps; forgotten with the tokens.</summary>
    public IKvPolicyState? State { get; set; }

    /// <summary>f32 [numKvHeads, capacity]: room for the scores of the slots, higher is better.</summary>
    public TensorView Scores => Table(ref _scores, Layer.Cells.Count);

    /// <summary>Bytes of what is kept for the policy between steps.</summary>
    public long StateBytes => (_window?.Bytes ?? 0) + _budgets.Bytes + SizeOf(_scores) + SizeOf(_weights) + SizeOf(_kept) + SizeOf(_keptCounts)
        + SizeOf(_output) + SizeOf(_lse);

    /// <summary>Whether a cell may lose slots.</summary>
    public bool AppliesTo(int cell) => Policy.AppliesTo(Layer.Index, cell);

    /// <summary>
    /// The weight that the latest queries give to each slot, summed over them: f32 [numHeads, capacity]. A row's weights are those of
    /// attention over the slots there are now.
    /// </summary>
    /// <param name="rows">How many queries; fewer when there were fewer.</param>
    /// <param name="counted">How many it were.</param>
    public TensorView SumWeights(int rows, out int counted)
    {
        counted = (int)Math.Min(rows, Math.Max(NewQuery[1], _window?.Count ?? 0));
        TensorView query = NewQuery[1] >= counted ? NewQuery.Slice(1, NewQuery[1] - counted, counted) : _window!.Last(counted);
        TensorView lse = Grow(ref _lse, DataType.Float32, (long)NumHeads * counted).Reshape(1, NumHeads, counted);
        TensorView output = Grow(ref _output, query.Type, (long)counted * NumHeads * Layer.Shape.ValueHeadDim)
            .Reshape(1, counted, NumHeads, Layer.Shape.ValueHeadDim);
        AttentionOptions options = Options.IsCausal ? Options : Options with { IsCausal = true };
        TensorView key = Layer.ReadKeys();
        if (counted <= MaxStreamedRows)
            Attention.Decode(query, key, Layer.Value, output, options, lse, Layer.Inputs);
        else
            Attention.Forward(query, key, Layer.Value, output, options, lse, Layer.Inputs);
        TensorView weights = Table(ref _weights, NumHeads);
        Attention.Weights(query, key, lse, default, weights.Split(0, NumHeads), options, Layer.Inputs);
        return weights;
    }

    /// <summary>What <see cref="SumWeights"/> found last, [numHeads, capacity].</summary>
    public float[] ReadWeights() => Read(Table(ref _weights, NumHeads), _weights!);

    /// <summary>Scores from the host: score(cell, slot), +∞ to keep a slot whatever the budget.</summary>
    public void SetScores(Func<int, int, float> score)
    {
        ArgumentNullException.ThrowIfNull(score);
        int capacity = Layer.Capacity;
        var scores = new float[Layer.Cells.Count * capacity];
        for (int h = 0; h < Layer.Cells.Count; h++)
        {
            for (int slot = 0; slot < Layer.Cells[h].Length; slot++)
                scores[h * capacity + slot] = score(h, slot);
        }
        _ = Scores;
        _scores!.CopyFrom<float>(scores, 0);
    }

    /// <summary>The scores, [numKvHeads, capacity].</summary>
    public float[] ReadScores() => Read(Scores, _scores!);

    /// <summary>Makes sure of the best slots of each cell: their scores become +∞.</summary>
    /// <param name="counts">For each cell how many.</param>
    public void Guard(ReadOnlySpan<int> counts)
    {
        (int[] kept, int[] keptCounts) = Select(counts);
        float[] scores = ReadScores();
        int capacity = Layer.Capacity;
        for (int h = 0; h < keptCounts.Length; h++)
        {
            for (int i = 0; i < Math.Min(keptCounts[h], counts[h]); i++)
                scores[h * capacity + kept[h * capacity + i]] = float.PositiveInfinity;
        }
        _scores!.CopyFrom<float>(scores, 0);
    }

    /// <summary>Keeps the slots with the highest scores, of equals the later; +∞ is kept whatever the budget.</summary>
    /// <param name="budgets">For each cell how many slots it keeps; more than it has for all.</param>
    /// <param name="isPooled">Whether the budgets are shared by all cells of the layer.</param>
    public void KeepBest(ReadOnlySpan<int> budgets, bool isPooled = false)
    {
        bool isExceeded = false;
        for (int h = 0; h < budgets.Length; h++)
            isExceeded |= Layer.Cells[h].Length > budgets[h];
        if (!isExceeded)
            return;
        Choose(budgets, isPooled);
        KeepChosen();
    }

    /// <summary>Keeps what <see cref="Select"/> chose last.</summary>
    public void KeepChosen() => Layer.Keep(
        _kept ?? throw new InvalidOperationException("Nothing was chosen yet."), _keptCounts!);

    /// <summary>The slots with the highest scores, without dropping the others: [numKvHeads, capacity], and how many of each cell.</summary>
    public (int[] Kept, int[] Counts) Select(ReadOnlySpan<int> budgets, bool isPooled = false)
    {
        Choose(budgets, isPooled);
        return (_kept!.ToArray<int>(), _keptCounts!.ToArray<int>());
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        Layer.Device.Synchronize();
        _window?.Dispose();
        _budgets.Dispose();
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[_scores, _weights, _kept, _keptCounts, _output, _lse])
            tensor?.Dispose();
    }

    // What was learnt of the tokens so far, for a layer that holds a copy of them.
    internal KvStep Fork(KvLayer layer)
    {
        var fork = new KvStep(layer, Policy, NumHeads) { NumTokens = NumTokens, State = State?.Copy(), _unsummed = _unsummed };
        if (_window is { Count: > 0 })
            fork._window!.Append(_window.Last(_window.Count));
        return fork;
    }

    internal void Clear()
    {
        _window?.Clear();
        _unsummed = 0;
        State = null;
    }

    // Remembers the new queries and, for a policy that sums weights, adds those of a prompt's to the slots.
    internal void RememberQueries()
    {
        if (_window is null)
            return;
        _window.Append(NewQuery);
        if (!Policy.SumsWeights)
            return;
        _unsummed += (int)NewQuery[1];
        if (Phase != KvPhases.Decode || _unsummed >= Policy.Interval)
            AddWeights();
    }

    // Adds the weights of the queries since the last time to the statistics of the slots, summed over the heads of a group.
    internal void AddWeights()
    {
        if (_unsummed == 0)
            return;
        TensorView weights = SumWeights(_unsummed, out _);
        _unsummed = 0;
        KvCells.Score(weights, Layer.Lengths.Join(0), Scores, new KvScoreOptions { Aggregate = KvAggregate.Sum });
        float[] sums = ReadScores();
        int capacity = Layer.Capacity;
        for (int h = 0; h < Layer.Cells.Count; h++)
        {
            Span<float> statistics = Layer.Cells[h].Statistics;
            for (int slot = 0; slot < statistics.Length; slot++)
                statistics[slot] += sums[h * capacity + slot];
        }
    }

    private void Choose(ReadOnlySpan<int> budgets, bool isPooled)
    {
        Span<int> table = _budgets.Begin(budgets.Length);
        for (int h = 0; h < table.Length; h++)
            table[h] = isPooled ? budgets[h] : Math.Min(budgets[h], Layer.Cells[h].Length);
        int capacity = Layer.Capacity;
        if (_kept is null || _kept.Layout[1] != capacity)
        {
            Layer.Device.Synchronize();
            _kept?.Dispose();
            _kept = Tensor.Allocate(Layer.Device, DataType.Int32, budgets.Length, capacity);
            _keptCounts ??= Tensor.Allocate(Layer.Device, DataType.Int32, budgets.Length);
        }
        KvCells.Select(Scores, Layer.Lengths.Join(0), _budgets.End(), _kept, _keptCounts!, isPooled);
    }

    private TensorView Table(ref Tensor? tensor, int rows) =>
        Grow(ref tensor, DataType.Float32, (long)rows * Layer.Capacity).Reshape(rows, Layer.Capacity);

    // The first `count` elements of a tensor that grows when needed.
    private TensorView Grow(ref Tensor? tensor, DataType type, long count)
    {
        if (tensor is null || tensor.Layout.Count < count || tensor.Type != type)
        {
            Layer.Device.Synchronize();
            tensor?.Dispose();
            tensor = Tensor.Allocate(Layer.Device, type, count);
        }
        return tensor.Slice(0, 0, count);
    }

    private static float[] Read(TensorView table, Tensor tensor)
    {
        var values = new float[table.Layout.Count];
        tensor.CopyTo<float>(values, 0);
        return values;
    }

    private static long SizeOf(Tensor? tensor) => tensor is null ? 0 : tensor.Layout.Count * tensor.Type.SizeInBytes();
}
