namespace KernelEngine;

/// <summary>
/// The cells of one layer: one for each key/value head, of any length each. Attention reads their pages where they lie. What a
/// slot means is on the host (<see cref="KvCell"/>), keys and values are on the device.
/// </summary>
public sealed partial class KvLayer : IDisposable
{
    private const int MaxDecodeRows = 4; // beyond that many query rows the kernels for long prompts are the better ones

    private readonly KvCacheOptions _options;
    private readonly KvCell[] _cells;
    private readonly KvPagePool _pool;
    private readonly KvScratch _scratch;
    private readonly DeviceTable<int> _lengths, _fullLengths, _slots, _positions, _pages, _steps, _windows;
    private readonly DeviceTable<float> _biases, _distances;
    private KvRotary _rotary;
    private bool _hasBiases, _arePagesSent;
    private int _leastPages;

    internal KvLayer(Device device, int index, KvLayerShape shape, KvCacheOptions options, KvScratch scratch)
    {
        (Device, Index, Shape, _options, _scratch) = (device, index, shape, options, scratch);
        _cells = [.. Enumerable.Range(0, shape.NumKvHeads).Select(_ => new KvCell())];
        _pool = KvPagePool.OfRows(device, shape, options.Type, options.PageSize);
        _codes = options.CodeBits > 0 ? KvPagePool.OfCodes(device, shape, options.CodeBits, options.PageSize) : null;
        (_lengths, _fullLengths, _slots, _positions) = (new(device), new(device), new(device), new(device));
        (_pages, _readPages, _codePages, _codeLengths) = (new(device), new(device), new(device), new(device));
        (_sourcePages, _targetPages, _steps, _biases) = (new(device), new(device), new(device), new(device));
        (_windows, _distances) = (new(device), new(device));
        (_otherOutput, _otherLse, _ownLse) = (new(device), new(device), new(device));
    }

    /// <summary>Where keys and values lie.</summary>
    public Device Device { get; }

    /// <summary>Which layer of its cache this is.</summary>
    public int Index { get; }

    /// <summary>Its sizes.</summary>
    public KvLayerShape Shape { get; }

    /// <summary>The rotary embedding that tokens were appended with last.</summary>
    public KvRotary Rotary => _rotary;

    /// <summary>Slots of a page.</summary>
    public int PageSize => _options.PageSize;

    /// <summary>The cells, one for each key/value head.</summary>
    public IReadOnlyList<KvCell> Cells => _cells;

    /// <summary>Slots of the longest cell.</summary>
    public int MaxLength
    {
        get
        {
            int length = 0;
            foreach (KvCell cell in _cells)
                length = Math.Max(length, cell.Length);
            return length;
        }
    }

    /// <summary>Slots that the page table has room for: the row length of tables with a number a slot.</summary>
    public int Capacity
    {
        get
        {
            int pages = 1;
            foreach (KvCell cell in _cells)
                pages = Math.Max(pages, cell.Pages.Count);
            return pages * PageSize;
        }
    }

    /// <summary>i32 [1, numKvHeads]: the slots in use of each cell.</summary>
    public TensorView Lengths
    {
        get
        {
            Span<int> row = _lengths.Begin(1, Shape.NumKvHeads);
            for (int h = 0; h < row.Length; h++)
                row[h] = _cells[h].Length;
            return _lengths.End();
        }
    }

    /// <summary>Where the bytes of this layer are, but for what a policy keeps.</summary>
    public KvBytes Bytes => new(
        (_cells.Sum(cell => (long)cell.FullLength) * _pool.PageBytes
            + _cells.Sum(cell => (long)cell.CodedLength) * (_codes?.PageBytes ?? 0)) / PageSize,
        _pool.ReservedBytes + (_codes?.ReservedBytes ?? 0),
        _cells.Sum(cell => cell.MetadataBytes) + IntTables.Sum(table => table.Bytes) + _biases.Bytes + _distances.Bytes, 0);

    /// <summary>
    /// Makes a cell keep its first <paramref name="sinkCount"/> tokens and the last <paramref name="recentCount"/> alone
    /// (arXiv:2309.17453): from then on a new token takes the place of the oldest between them.
    /// </summary>
    /// <exception cref="InvalidOperationException">The cell holds more tokens than that, or is a ring already.</exception>
    /// <exception cref="NotSupportedException">Keys are turned in place when tokens go, and a ring loses one with each.</exception>
    public void SetRing(int cell, int sinkCount, int recentCount)
    {
        if (_cells[cell].IsRing || _cells[cell].Length > (long)sinkCount + recentCount)
            throw new InvalidOperationException($"A cell of {_cells[cell].Length} tokens cannot become a ring of {sinkCount} + {recentCount}.");
        if (_options.Positions == KvPositions.Reindexed)
            throw new NotSupportedException("A ring loses a token with each new one: keep original positions, or re-index on reading.");
        Restore(_cells[cell], firstPage: 0);
        _cells[cell].SetRing(sinkCount, recentCount);
    }

    /// <summary>Takes memory for so many slots of every cell at once, so that nothing is moved while they fill.</summary>
    public void Reserve(ReadOnlySpan<int> slots)
    {
        long pages = 0;
        for (int h = 0; h < slots.Length; h++)
            pages += Math.Max(0, PagesFor(slots[h]) - _cells[h].Pages.Count);
        _pool.Reserve(checked((int)pages), isExact: true);
        _leastPages = _pool.Reserved;
    }

    /// <summary>
    /// Appends the keys and values of new tokens to every cell and turns their queries, in place. A full ring replaces its oldest
    /// token when one is new; when several are, it grows until <see cref="Settle"/>, so that each row still sees its window.
    /// </summary>
    /// <param name="query">[1, newLength, numHeads, headDim], turned in place; the default for none</param>
    /// <param name="newKey">[1, newLength, numKvHeads, headDim]</param>
    /// <param name="newValue">[1, newLength, numKvHeads, valueHeadDim]</param>
    /// <param name="position">Position of the first new token among all tokens of the sequence.</param>
    /// <param name="rotary">The layer's rotary embedding.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit, or the rotary tables end before a position.</exception>
    public void Append(TensorView query, TensorView newKey, TensorView newValue, int position, in KvRotary rotary = default)
    {
        Shapes.RequireRank(newKey, 4, nameof(newKey));
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        int count = Shapes.Size(newKey, 1, nameof(newKey));
        if (count == 0)
            return;
        _rotary = rotary;
        TakePages(count);
        try
        {
            Store(query, newKey, newValue, position, count);
        }
        catch
        {
            foreach (KvCell cell in _cells)
                FreePages(cell);
            throw;
        }
        foreach (KvCell cell in _cells)
            cell.Append(position, count);
    }

    /// <summary>Attention of the tokens appended last over every cell: row i sees all slots but those of the tokens after it.</summary>
    /// <param name="query">[1, newLength, numHeads, headDim], as <see cref="Append"/> turned it</param>
    /// <param name="output">[1, newLength, numHeads, valueHeadDim], written</param>
    /// <param name="lse">f32 [1, numHeads, newLength], written: natural log of the softmax denominator; the default for none</param>
    /// <param name="options">Scale and soft cap; masks are the cache's own.</param>
    /// <param name="columnMass">
    /// f32 [1, numHeads, capacity], added to: the weight that each slot got from all rows; the default for none.
    /// </param>
    /// <param name="isStrict">
    /// Whether a row sees of a ring its own window alone, not what else the ring holds while several tokens are new.
    /// </param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    /// <exception cref="InvalidOperationException">Strict windows of several rows need a ring in the order of its tokens.</exception>
    public void Attend(
        TensorView query, TensorView output, TensorView lse = default, AttentionOptions? options = null, TensorView columnMass = default,
        bool isStrict = false)
    {
        Shapes.RequireRank(query, 4, nameof(query));
        options = options is { IsCausal: true } ? options : options is null ? AttentionOptions.Causal : options with { IsCausal = true };
        isStrict &= query[1] > 1; // one row sees what the ring keeps
        bool isApart = HasCodes && !isStrict && _options.AlibiSlopes is null && query[1] <= MaxDecodeRows && !IsTurnedOnRead
            && options.LogitSoftCap == 0 && !columnMass.IsPresent && SeenPages is null;
        if (!lse.IsPresent && (isApart || columnMass.IsPresent))
            lse = _ownLse.Take(DataType.Float32, 1, query[2], query[1]);
        if (isApart)
        {
            AttendToCodes(query, output, lse, options);
            return;
        }
        KvRows rows = Read();
        AttentionInputs inputs = isStrict ? rows.Inputs with { HeadWindows = SendWindows((int)query[2]) } : rows.Inputs;
        if (query[1] > MaxDecodeRows)
        {
            Attention.Forward(query, rows.Key, rows.Value, output, options, lse, inputs);
            if (columnMass.IsPresent)
                Attention.Weights(query, rows.Key, lse, default, columnMass, options, inputs, addsMass: true);
        }
        else if (columnMass.IsPresent)
        {
            Attention.DecodeMass(query, rows.Key, rows.Value, output, lse, columnMass, options, inputs, addsMass: true);
        }
        else
        {
            Attention.Decode(query, rows.Key, rows.Value, output, options, lse, inputs);
        }
    }

    // Whether slots are out of the order of their tokens in some ring.
    internal bool IsTurned
    {
        get
        {
            foreach (KvCell cell in _cells)
            {
                if (cell.IsTurned)
                    return true;
            }
            return false;
        }
    }

    // The window and the sinks of each query head. In a ring in order, slots are as far apart as their tokens, but for the sinks.
    private TensorView SendWindows(int numHeads)
    {
        if (IsTurned)
            throw new InvalidOperationException("A ring whose slots are out of order has no windows: append token by token.");
        Span<int> windows = _windows.Begin(numHeads, 2);
        for (int head = 0; head < numHeads; head++)
        {
            KvCell cell = _cells[head / (numHeads / _cells.Length)];
            (windows[2 * head], windows[2 * head + 1]) = (cell.IsRing ? cell.RecentCount - 1 : -1, cell.SinkCount);
        }
        return _windows.End();
    }

    // Attention of one token that reads so many values a query head, where that leaves some out and nothing changes the scores.
    internal bool TryAttendSelectively(TensorView query, TensorView output, int valueCount, AttentionOptions options)
    {
        bool areScoresChanged = _hasBiases || _options.AlibiSlopes is not null || options.LogitSoftCap > 0;
        if (query[1] != 1 || query.Type != DataType.Float32 || MaxLength <= valueCount || areScoresChanged)
            return false;
        KvRows rows = Read();
        Attention.DecodeSelective(
            query.Join(0).Join(0), rows.Key, rows.Value, rows.PageTable, rows.Lengths,
            output.Join(0).Join(0), valueCount, softmaxScale: options.SoftmaxScale,
            keyScale: rows.Inputs.KeyScale, valueScale: rows.Inputs.ValueScale);
        return true;
    }

    /// <summary>The slots as attention reads them: the pages where they lie, or a copy turned to the present indices, or decoded.</summary>
    public KvRows Read()
    {
        if (HasCodes)
            return ReadCodes();
        AttentionInputs inputs = SeenPages is null ? FullInputs with { Bias = SendDistances() } : SeenInputs;
        TensorView key = Key;
        if (IsTurnedOnRead)
            key = Turn(key, _scratch.Keys.Take(key.Type, key[0], key[1], 1, key[3]), inputs.PageTable);
        return new KvRows(key, Value, inputs);
    }

    /// <summary>Puts the tokens that a ring took beyond its size in their places.</summary>
    public void Settle()
    {
        bool hasMore = false;
        foreach (KvCell cell in _cells)
            hasMore |= cell.IsRing && cell.Length > cell.RingCapacity;
        if (hasMore)
            Keep([.. _cells.Select(cell => cell.IsRing ? cell.PlacesOfRing() : null)]);
    }

    /// <summary>
    /// Keeps the given slots of each cell and gives the pages of the others back. Slot j of a cell becomes its old slot
    /// kept[j], done from low to high.
    /// </summary>
    /// <param name="kept">For each cell ascending slots; null to keep all of it.</param>
    /// <exception cref="ArgumentException">Another number of cells, or slots that do not ascend within a cell.</exception>
    public void Keep(IReadOnlyList<int[]?> kept)
    {
        ArgumentNullException.ThrowIfNull(kept);
        if (kept.Count != _cells.Length)
            throw new ArgumentException($"kept must have one list a cell ({_cells.Length}) but has {kept.Count}.", nameof(kept));
        int capacity = Capacity;
        var slots = new int[_cells.Length * capacity];
        var counts = new int[_cells.Length];
        Array.Fill(slots, -1);
        for (int h = 0; h < kept.Count; h++)
        {
            Span<int> row = slots.AsSpan(h * capacity, capacity);
            counts[h] = kept[h]?.Length ?? _cells[h].Length;
            if (counts[h] > _cells[h].Length)
                throw new ArgumentException($"Cell {h} has {_cells[h].Length} slots but {counts[h]} are to be kept.", nameof(kept));
            for (int j = 0; j < counts[h]; j++)
            {
                row[j] = kept[h] is { } list ? list[j] : j;
                if (row[j] < j || row[j] >= _cells[h].Length)
                    throw new ArgumentException($"Slot {row[j]} of cell {h} cannot become slot {j}: it has {_cells[h].Length} slots.", nameof(kept));
            }
        }
        Compact(null, null, slots, counts);
    }

    /// <summary>Keeps the slots that were chosen on the device.</summary>
    /// <param name="kept">i32 [numKvHeads, capacity]: slots, ascending</param>
    /// <param name="keptCounts">i32 [numKvHeads]</param>
    public void Keep(Tensor kept, Tensor keptCounts)
    {
        ArgumentNullException.ThrowIfNull(kept);
        ArgumentNullException.ThrowIfNull(keptCounts);
        Compact(kept, keptCounts, kept.ToArray<int>(), keptCounts.ToArray<int>());
    }

    /// <summary>
    /// Merges slots into others: each target becomes the mean of itself and what is merged into it, and stands for the newest of
    /// them. The merged ones stay until they are dropped.
    /// </summary>
    /// <param name="targets">[numKvHeads, capacity]: the slot that each slot is merged into, −1 for none</param>
    /// <param name="weights">[numKvHeads, capacity]: the weight of each slot in the mean</param>
    /// <param name="byDirection">Whether the direction of keys is averaged and their old length kept, not the keys themselves.</param>
    /// <exception cref="ArgumentException">A target is no slot of its cell or is merged itself, or a weight is negative.</exception>
    public void Merge(ReadOnlySpan<int> targets, ReadOnlySpan<float> weights, bool byDirection = false)
    {
        int capacity = Capacity;
        if (targets.Length != _cells.Length * capacity || weights.Length != targets.Length)
        {
            throw new ArgumentException(
                $"targets and weights must have {_cells.Length * capacity} elements but have {targets.Length} and {weights.Length}.");
        }
        RestoreTargets(targets);
        (int[] full, float[] fullWeights) = (new int[targets.Length], new float[targets.Length]);
        Array.Fill(full, -1);
        for (int h = 0; h < _cells.Length; h++)
        {
            int coded = _cells[h].CodedLength;
            for (int i = 0; i < _cells[h].FullLength; i++)
            {
                int slot = h * capacity + coded + i;
                (full[h * capacity + i], fullWeights[h * capacity + i]) = (targets[slot] < 0 ? -1 : targets[slot] - coded, weights[slot]);
            }
        }
        using Tensor into = Tensor.From<int>(Device, full, _cells.Length, capacity);
        using Tensor shares = Tensor.From<float>(Device, fullWeights, _cells.Length, capacity);
        KvCells.Merge(Key, Value, Rows(PageTable), Rows(FullLengths), into, shares, byDirection);
        for (int h = 0; h < _cells.Length; h++)
        {
            for (int slot = 0; slot < _cells[h].Length; slot++)
            {
                int target = targets[h * capacity + slot];
                if (target >= 0 && _cells[h].Positions[target] < _cells[h].Positions[slot])
                    _cells[h].SetPosition(target, _cells[h].Positions[slot]);
            }
        }
    }

    /// <summary>Adds to the scores of a slot from now on: ln of how many tokens it stands for.</summary>
    public void SetBias(int cell, int slot, float bias)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)_cells[cell].Length, nameof(slot));
        if (bias != 0 && _cells[cell].Pages[slot / PageSize] < 0)
            Restore(_cells[cell], slot / PageSize);
        _cells[cell].SetBias(slot, bias);
        _hasBiases |= bias != 0;
    }

    /// <summary>Forgets the tokens from <paramref name="position"/> on.</summary>
    /// <exception cref="InvalidOperationException">A ring has already dropped what would be its window then.</exception>
    public void Truncate(int position)
    {
        RequireTruncatable(position);
        foreach (KvCell cell in _cells)
        {
            while (cell.Length > 0 && cell.Positions[^1] >= position)
                cell.Length--;
            FreePages(cell);
            if (cell.Length % PageSize != 0)
                Restore(cell, cell.Length / PageSize);
        }
    }

    /// <summary>Forgets everything; memory stays.</summary>
    public void Clear()
    {
        foreach (KvCell cell in _cells)
        {
            cell.Clear();
            FreePages(cell);
        }
        _hasBiases = false;
    }

    /// <summary>Moves the pages in use together and gives the memory of the others back.</summary>
    public void Trim()
    {
        _arePagesSent = false;
        _leastPages = 0;
        _pool.Trim(_cells.Select(cell => cell.Pages), areCodes: false);
        _codes?.Trim(_cells.Select(cell => cell.Pages), areCodes: true);
        foreach (KvCell cell in _cells)
            cell.TrimMetadata();
    }

    /// <summary>Lets go of what <see cref="Reserve"/> took and nothing needs any more.</summary>
    public void Release()
    {
        _leastPages = 0;
        TrimIfSparse();
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        _pool.Dispose();
        _codes?.Dispose();
        foreach (IDisposable table in (ReadOnlySpan<IDisposable>)[.. IntTables, _biases, _distances, _otherOutput, _otherLse, _ownLse])
            table.Dispose();
    }

    internal void RequireTruncatable(int position)
    {
        foreach (KvCell cell in _cells)
        {
            if (cell is { IsRing: true, HasDropped: true } && cell.Positions.IndexOfAnyInRange(position, int.MaxValue) >= 0)
                throw new InvalidOperationException($"A ring that dropped tokens cannot go back to position {position}.");
        }
    }

    internal void CopyFrom(KvLayer source)
    {
        Clear();
        _pool.Reserve(source._pool.Used, isExact: true);
        _codes?.Reserve(source._codes!.Used, isExact: true);
        for (int h = 0; h < _cells.Length; h++)
        {
            foreach (int page in source._cells[h].Pages)
            {
                (KvPagePool pool, KvPagePool from) = page >= 0 ? (_pool, source._pool) : (_codes!, source._codes!);
                int own = pool.Take();
                pool.CopyPage(from, page >= 0 ? page : ~page, own);
                _cells[h].Pages.Add(page >= 0 ? own : ~own);
            }
            _cells[h].CopyMetadata(source._cells[h]);
        }
        (_rotary, _hasBiases) = (source._rotary, source._hasBiases);
    }

    // Null when every page is in one place alone and cells have the pages that their slots need.
    internal string? FindInconsistency()
    {
        int used = _cells.Sum(cell => cell.Pages.Count);
        if (used != _pool.Used + (_codes?.Used ?? 0))
            return $"The cells of layer {Index} have {used} pages but {_pool.Used} and {_codes?.Used ?? 0} are taken.";
        if (_cells.SelectMany(cell => cell.Pages).Distinct().Count() != used)
            return $"A page of layer {Index} is in two places.";
        for (int h = 0; h < _cells.Length; h++)
        {
            KvCell cell = _cells[h];
            if (cell.Pages.Count != PagesFor(cell.Length))
                return $"Cell {h} of layer {Index} has {cell.Length} slots in {cell.Pages.Count} pages.";
            bool isCut = cell.Pages is [.., < 0] && cell.Length % PageSize != 0;
            if (isCut || cell.CodedLength != cell.Pages.Count(page => page < 0) * PageSize)
                return $"Cell {h} of layer {Index} has {cell.CodedLength} slots in pages of codes that do not hold so many.";
            for (int slot = 1; slot < cell.Length && !cell.IsRing; slot++)
            {
                if (cell.Positions[slot] <= cell.Positions[slot - 1])
                    return $"Slot {slot} of cell {h} of layer {Index} is out of order.";
            }
        }
        return null;
    }

    private static TensorView Rows(TensorView table) => table.Join(0);

    private int PagesFor(int slots) => (int)(((long)slots + PageSize - 1) / PageSize);

    private void TakePages(int count)
    {
        int missing = 0;
        foreach (KvCell cell in _cells)
            missing += cell.IsReplacedBy(count) ? 0 : PagesFor(checked(cell.Length + count)) - cell.Pages.Count;
        if (missing == 0)
            return;
        _pool.Reserve(missing, isExact: false);
        foreach (KvCell cell in _cells)
        {
            while (!cell.IsReplacedBy(count) && cell.Pages.Count < PagesFor(cell.Length + count))
                cell.Pages.Add(_pool.Take());
        }
        _arePagesSent = false;
    }

    private void Store(TensorView query, TensorView newKey, TensorView newValue, int position, int count)
    {
        Span<int> row = _slots.Begin(1, Shape.NumKvHeads);
        for (int h = 0; h < row.Length; h++)
            row[h] = _cells[h].NextSlot(count);
        TensorView slots = _slots.End();
        bool isReindexed = _options.Positions != KvPositions.Original && _rotary.IsPresent;
        var inputs = new AttentionAppendInputs { KvLengths = slots, PageTable = PageTable, KeyScale = KeyScale, ValueScale = ValueScale };
        if (!isReindexed)
        {
            _positions.Begin(1)[0] = position;
            Attention.Append(newKey, newValue, Key, Value, _positions.End(), _rotary.IsPresent ? Turning(inputs, query) : inputs, _rotary.IsInterleaved);
            return;
        }
        // Each head is a sequence of its own: the index of a new token is what its cell holds.
        row = _positions.Begin(Shape.NumKvHeads);
        for (int h = 0; h < row.Length; h++)
            row[h] = _cells[h].NextIndex(count);
        TensorView indices = _positions.End();
        inputs = inputs with { KvLengths = slots.Transpose(0, 1), PageTable = inputs.PageTable.Transpose(0, 1) };
        TensorView keys = PerHead(newKey), values = PerHead(newValue), queries = query.IsPresent ? PerHead(query) : default;
        if (_options.Positions == KvPositions.Reindexed)
        {
            Attention.Append(keys, values, Key, Value, indices, Turning(inputs, queries), _rotary.IsInterleaved);
            return;
        }
        Attention.Append(keys, values, Key, Value, indices, inputs);
        for (int h = 0; queries.IsPresent && h < _cells.Length; h++)
        {
            int start = _cells[h].NextIndex(count) - UnseenSlots(h);
            Layers.Rotary(queries.Slice(0, h, 1).Join(0), _rotary.Cos, _rotary.Sin, start, _rotary.IsInterleaved);
        }
    }

    private AttentionAppendInputs Turning(AttentionAppendInputs inputs, TensorView query) =>
        inputs with { Query = query, Cos = _rotary.Cos, Sin = _rotary.Sin };

    // [1, tokens, heads, dim] as [numKvHeads, tokens, groupSize, dim].
    private TensorView PerHead(TensorView rows) => rows.Join(0).Split(1, rows[2] / Shape.NumKvHeads).Transpose(0, 1);

    // The tensors are those of slots and counts, or null.
    private void Compact(Tensor? kept, Tensor? keptCounts, int[] slots, int[] counts)
    {
        if (kept is null || HasCodes)
        {
            (int[] fullSlots, int[] fullCounts) = RestoreMoved(slots, counts);
            using Tensor keptSlots = Tensor.From<int>(Device, fullSlots, _cells.Length, Capacity);
            using Tensor numKept = Tensor.From<int>(Device, fullCounts, _cells.Length);
            Move(keptSlots, numKept, fullSlots, fullCounts);
        }
        else
        {
            Move(kept, keptCounts!, slots, counts);
        }
        int capacity = Capacity;
        for (int h = 0; h < _cells.Length; h++)
            _cells[h].Keep(slots.AsSpan(h * capacity, counts[h]));
        foreach (KvCell cell in _cells)
            FreePages(cell);
        TrimIfSparse();
    }

    // Moves the rows of slots stored in full, and turns keys whose index changes.
    private void Move(Tensor kept, Tensor keptCounts, int[] slots, int[] counts)
    {
        KvCells.Compact(Key, Value, Rows(PageTable), kept, keptCounts, KeyScale, ValueScale);
        if (_options.Positions != KvPositions.Reindexed || !_rotary.IsPresent)
            return;
        int capacity = Capacity;
        Span<int> steps = _steps.Begin(Shape.NumKvHeads, capacity);
        for (int i = 0; i < steps.Length; i++)
            steps[i] = i % capacity < counts[i / capacity] ? i % capacity - slots[i] : 0;
        KvCells.Rotate(Key, Rows(PageTable), keptCounts, _steps.End(), _rotary.Cos, _rotary.Sin, _rotary.IsInterleaved);
    }

    // Once less than half is in use; a page or two a cell may come and go without a copy.
    private void TrimIfSparse()
    {
        if (IsSparse(_pool) && _pool.Reserved > _leastPages)
            Trim();
        else if (_codes is not null && IsSparse(_codes))
            _codes.Trim(_cells.Select(cell => cell.Pages), areCodes: true);

        bool IsSparse(KvPagePool pool) => pool.Reserved > 2L * pool.Used + 2 * _cells.Length;
    }

    private void FreePages(KvCell cell)
    {
        int needed = PagesFor(cell.Length);
        _arePagesSent &= needed == cell.Pages.Count;
        for (int i = cell.Pages.Count - 1; i >= needed; i--)
        {
            if (cell.Pages[i] >= 0)
                _pool.Return(cell.Pages[i]);
            else
                ReturnCodes(cell, i);
        }
        cell.Pages.RemoveRange(needed, cell.Pages.Count - needed);
    }
}
