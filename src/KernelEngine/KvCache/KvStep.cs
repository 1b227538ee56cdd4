namespace KernelEngine;

/// <summary>
/// One layer under a policy at one step: what the policy may look at, and the tools that score and choose slots on the device.
/// </summary>
public sealed class KvStep : IDisposable
{
    private const int MostGathered = 256; // tokens that there is room for before weights are taken up

    private readonly KvQueryWindow? _window;
    private readonly KvQueryWindow? _unsummed; // decoding steps whose weights are summed up at once, where that spares decoding
    private readonly DeviceTable<int> _budgets;
    private readonly DeviceTable<float> _sums; // [numHeads, room]: weights of decoding steps, gathered for the next eviction
    private readonly GrowingTensor _scores, _weights, _lse;
    private Tensor? _kept, _keptCounts;
    private float[] _hostScores = []; // room for the scores beside the device
    private int _summed, _room;

    internal KvStep(KvLayer layer, KvPolicy policy, int numHeads)
    {
        (Layer, Policy, NumHeads, _budgets, _sums) = (layer, policy, numHeads, new(layer.Device), new(layer.Device));
        (_scores, _weights, _lse) = (new(layer.Device), new(layer.Device), new(layer.Device));
        _window = policy.QueryWindow > 0 ? new KvQueryWindow(layer.Device, policy.QueryWindow) : null;
        _unsummed = policy.SumsWeights && IsPostponed ? new KvQueryWindow(layer.Device, MostBefore) : null;
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

    /// <summary>The layer's rotary embedding.</summary>
    public KvRotary Rotary { get; internal set; }

    /// <summary>What the policy itself keeps of this layer between steps; forgotten with the tokens.</summary>
    public IKvPolicyState? State { get; set; }

    /// <summary>f32 [numKvHeads, capacity]: room for the scores of the slots, higher is better.</summary>
    public TensorView Scores => Table(_scores, Layer.Cells.Count);

    /// <summary>Bytes of what is kept for the policy between steps.</summary>
    public long StateBytes => (_window?.Bytes ?? 0) + (_unsummed?.Bytes ?? 0) + (State?.Bytes ?? 0) + _budgets.Bytes + _sums.Bytes
        + _hostScores.Length * sizeof(float) + _scores.Bytes + _weights.Bytes + _lse.Bytes + SizeOf(_kept) + SizeOf(_keptCounts);

    /// <summary>Whether a cell may lose slots.</summary>
    public bool AppliesTo(int cell) => Policy.AppliesTo(Layer.Index, cell);

    /// <summary>
    /// The weight that the latest queries gave to each slot, summed over them: f32 [numHeads, capacity]. As many queries as the policy's
    /// window has, with the weights of their own steps: slots that were dropped since had the rest.
    /// </summary>
    /// <param name="counted">How many it were: fewer where there were fewer.</param>
    public TensorView SumWeights(out int counted)
    {
        if (IsWindowSummed && Phase == KvPhases.Decode)
        {
            counted = _summed;
            return Sums;
        }
        counted = (int)Math.Min(Policy.QueryWindow, Math.Max(NewQuery[1], _window?.Count ?? 0));
        (TensorView query, TensorView lse) = NewQuery[1] >= counted
            ? (NewQuery.Slice(1, NewQuery[1] - counted, counted), NewLse.Slice(2, NewLse[2] - counted, counted))
            : _window!.Last(counted);
        return SumWeights(query, lse);
    }

    /// <summary>
    /// Lets the new token see some pages of each cell alone; where positions are re-indexed on reading, they count within what is seen.
    /// To be called by <see cref="KvPolicy.Observe"/> of a step of one token.
    /// </summary>
    /// <param name="pages">For each cell ascending pages, the one that the new token goes to among them; null for all.</param>
    /// <exception cref="ArgumentException">The pages are others than that, or those of a ring, or several tokens are new.</exception>
    /// <exception cref="NotSupportedException">The cache has linear biases.</exception>
    public void See(int[]?[] pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        if (Layer.HasLinearBiases)
            throw new NotSupportedException("Attention to chosen pages has no linear biases (KvCacheOptions.AlibiSlopes).");
        if (pages.Length != Layer.Cells.Count || NewQuery[1] != 1)
        {
            throw new ArgumentException(
                $"One new token sees pages of {Layer.Cells.Count} cells, not {NewQuery[1]} tokens of {pages.Length}.", nameof(pages));
        }
        for (int h = 0; h < pages.Length; h++)
        {
            if (pages[h] is { } seen && (Layer.Cells[h].IsRing || !Ascend(seen, Layer.Cells[h].Length / Layer.PageSize)))
            {
                throw new ArgumentException(
                    $"What is seen of cell {h} must be pages that ascend to that of the new token, of no ring.", nameof(pages));
            }
        }
        Layer.SeenPages = pages;

        static bool Ascend(ReadOnlySpan<int> pages, int last)
        {
            int before = -1;
            foreach (int page in pages)
            {
                if (page <= before)
                    return false;
                before = page;
            }
            return before == last;
        }
    }

    /// <summary>Scores from the host: score(cell, slot), +∞ to keep a slot whatever the budget.</summary>
    public void SetScores(Func<int, int, float> score)
    {
        ArgumentNullException.ThrowIfNull(score);
        SetScores((h, scores) =>
        {
            for (int slot = 0; slot < scores.Length; slot++)
                scores[slot] = score(h, slot);
        });
    }

    /// <summary>The scores, [numKvHeads, capacity].</summary>
    public float[] ReadScores() => Read(Scores, _scores);

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
        _scores.Tensor!.CopyFrom<float>(scores, 0);
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
        _unsummed?.Dispose();
        foreach (IDisposable? tensor in (ReadOnlySpan<IDisposable?>)[_budgets, _sums, _scores, _weights, _lse, _kept, _keptCounts])
            tensor?.Dispose();
    }

    // Scores from the host, all slots of a cell at a time.
    internal void SetScores(Action<int, Span<float>> fill)
    {
        Span<float> scores = HostScores();
        int capacity = Layer.Capacity;
        for (int h = 0; h < Layer.Cells.Count; h++)
            fill(h, scores.Slice(h * capacity, Layer.Cells[h].Length));
        _ = Scores;
        _scores.Tensor!.CopyFrom<float>(scores, 0);
    }

    // What was learnt of the tokens so far, for a layer that holds a copy of them.
    internal KvStep Fork(KvLayer layer)
    {
        var fork = new KvStep(layer, Policy, NumHeads) { NumTokens = NumTokens, State = State?.Copy(), _summed = _summed, _room = _room };
        _window?.CopyTo(fork._window!);
        _unsummed?.CopyTo(fork._unsummed!);
        if (_summed > 0)
        {
            fork._sums.Begin(NumHeads, _room);
            Layers.ResidualAdd(fork._sums.End(), _sums.View);
        }
        return fork;
    }

    internal void Truncate(int position)
    {
        _window?.Clear();
        _unsummed?.Clear();
        _summed = 0;
        State = State?.Truncate(position);
    }

    // The log-sum-exps of the new queries, [1, numHeads, newLength], for a policy that looks at weights.
    private TensorView NewLse { get; set; }

    // Whether queries are remembered and weigh all slots at once, as codes are decoded for that: not at each of several steps.
    private bool IsPostponed => Layer.StoresCodes && Policy.Interval > 1;

    // Whether the new query waits to be summed up.
    private bool IsUnsummed => _unsummed is not null && Phase == KvPhases.Decode && NewQuery[1] == 1;

    // Decoding steps at the most before weights are summed up.
    private int MostBefore => Math.Min(Policy.Interval, MostGathered);

    // Whether the weights of the window's queries are gathered while they decode, as no two evictions share any.
    private bool IsWindowSummed =>
        !Policy.SumsWeights && Policy.QueryWindow > 0 && Policy.Interval >= Policy.QueryWindow && !IsPostponed;

    // [numHeads, capacity]
    private TensorView Sums => _sums.View.Slice(1, 0, Layer.Capacity);

    // Before tokens are appended: sums that have no room for their slots are taken up, and queries that would not be the last any more.
    internal void MakeRoom(int count)
    {
        bool isFull = _summed > 0 && Layer.MaxLength + (long)count > _room;
        if (!isFull && (IsUnsummed || _unsummed is not { Count: > 0 }))
            return;
        AddWeights();
        ForgetSums();
    }

    // Attention of the new tokens, with what the policy wants to know of it. An eviction comes after so many steps, this one included.
    internal void Attend(TensorView output, int stepsLeft)
    {
        if (Policy.ValueCount > 0 && Phase == KvPhases.Decode && Layer.TryAttendSelectively(NewQuery, output, Policy.ValueCount, Options))
            return;
        NewLse = Policy.SumsWeights || _window is not null ? _lse.Take(DataType.Float32, 1, NumHeads, NewQuery[1]) : default;
        bool isGathered = Policy.SumsWeights
            ? !IsUnsummed
            : IsWindowSummed && Phase == KvPhases.Decode && stepsLeft <= Policy.QueryWindow;
        if (!isGathered)
        {
            Layer.Attend(NewQuery, output, NewLse, Options, default, Policy.HasStrictWindows);
            return;
        }
        if (_summed == 0)
        {
            int growth = Policy.SumsWeights ? MostBefore : Policy.QueryWindow;
            _room = Layer.Capacity + (growth / Layer.PageSize + 1) * Layer.PageSize;
            _sums.Begin(NumHeads, _room);
            _sums.End();
        }
        Layer.Attend(NewQuery, output, NewLse, Options, Sums.Split(0, NumHeads));
        _summed += (int)NewQuery[1];
    }

    // Remembers the new queries where their weights are not gathered, and takes up those of a prompt.
    internal void Remember()
    {
        if (IsWindowSummed && Phase == KvPhases.Decode)
            _window!.Clear();
        else
            _window?.Append(NewQuery, NewLse);
        if (IsUnsummed)
            _unsummed!.Append(NewQuery, NewLse);
        if (Policy.SumsWeights && (Phase != KvPhases.Decode || _summed >= Policy.Interval || _unsummed?.Count >= MostBefore))
            AddWeights();
    }

    // Adds the weights of what was seen since the last time to the statistics of the slots, where the policy wants that.
    internal void AddWeights()
    {
        if (!Policy.SumsWeights)
            return;
        if (_summed > 0)
            AddToStatistics(Sums);
        if (_unsummed is { Count: > 0 })
        {
            (TensorView queries, TensorView lses) = _unsummed.Last(_unsummed.Count);
            AddToStatistics(SumWeights(queries, lses));
            _unsummed.Clear();
        }
        ForgetSums();
    }

    // The weights that the latest queries, [1, rows, numHeads, headDim], give to each slot, summed over them: f32 [numHeads, capacity].
    private TensorView SumWeights(TensorView query, TensorView lse)
    {
        AttentionOptions options = Options.IsCausal ? Options : Options with { IsCausal = true };
        KvRows rows = Layer.Read();
        TensorView weights = Table(_weights, NumHeads);
        Attention.Weights(query, rows.Key, lse, default, weights.Split(0, NumHeads), options, rows.Inputs);
        return weights;
    }

    // Summed over the heads of a group.
    private void AddToStatistics(TensorView weights)
    {
        KvCells.Score(weights, Layer.Lengths.Join(0), Scores, new KvScoreOptions { Aggregate = KvAggregate.Sum });
        Span<float> sums = HostScores();
        _scores.Tensor!.CopyTo(sums, 0);
        int capacity = Layer.Capacity;
        for (int h = 0; h < Layer.Cells.Count; h++)
        {
            Span<float> statistics = Layer.Cells[h].Statistics;
            for (int slot = 0; slot < statistics.Length; slot++)
                statistics[slot] += sums[h * capacity + slot];
        }
    }

    private Span<float> HostScores()
    {
        int count = Layer.Cells.Count * Layer.Capacity;
        if (_hostScores.Length < count)
            _hostScores = new float[count];
        return _hostScores.AsSpan(0, count);
    }

    // Slots move, or weights were taken up: gathering begins anew.
    internal void ForgetSums() => _summed = 0;

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

    private TensorView Table(GrowingTensor tensor, int rows) => tensor.Take(DataType.Float32, rows, Layer.Capacity);

    private static float[] Read(TensorView table, GrowingTensor tensor)
    {
        var values = new float[table.Layout.Count];
        tensor.Tensor!.CopyTo<float>(values, 0);
        return values;
    }

    private static long SizeOf(Tensor? tensor) => tensor is null ? 0 : tensor.Layout.Count * tensor.Type.SizeInBytes();
}
