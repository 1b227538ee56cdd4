using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <content>
/// Pages of codes (Liu et al. 2024, KIVI, arXiv:2402.02750) among the pages stored in full. What moves, merges or gets a bias is decoded
/// first, from the first page that changes on, and becomes codes again by <see cref="Quantize"/> at the end of the step.
/// </content>
public sealed partial class KvLayer
{
    private const int KeyPart = 0, ValuePart = 1, KeyScalePart = 2, ValueScalePart = 3; // of the pool of rows

    private readonly KvPagePool? _codes;
    private readonly DeviceTable<int> _readPages, _codePages, _codeLengths, _sourcePages, _targetPages;
    private readonly GrowingTensor _otherOutput, _otherLse, _ownLse;
    private readonly List<(KvCell Cell, int Page)> _toCode = []; // of the latest step; kept so that a step allocates nothing

    private DeviceTable<int>[] IntTables =>
    [
        _lengths, _fullLengths, _slots, _positions, _pages, _steps, _windows, _readPages, _codePages, _codeLengths, _sourcePages,
        _targetPages,
    ];

    internal bool StoresCodes => _codes is not null;

    internal bool HasLinearBiases => _options.AlibiSlopes is not null;

    private bool HasCodes => _codes is { Used: > 0 };

    private bool IsTurnedOnRead => _options.Positions == KvPositions.ReindexedOnRead && _rotary.IsPresent;

    private TensorView Key => _pool[KeyPart];

    private TensorView Value => _pool[ValuePart];

    private TensorView KeyScale => _pool.Count > KeyScalePart ? _pool[KeyScalePart].View : default;

    private TensorView ValueScale => _pool.Count > ValueScalePart ? _pool[ValueScalePart].View : default;

    private KvCodes Codes => new()
    {
        Key = _codes![CodePages.KeyCodes],
        KeyScale = _codes[CodePages.KeyScale],
        KeyMinimum = _codes[CodePages.KeyMinimum],
        Value = _codes[CodePages.ValueCodes],
        ValueScale = _codes[CodePages.ValueScale],
        ValueMinimum = _codes[CodePages.ValueMinimum],
    };

    // i32 [1, numKvHeads, pages]: the pages of each cell that are stored in full.
    private TensorView PageTable
    {
        get
        {
            if (!_arePagesSent)
                _ = SendPages(_pages, areCodes: false);
            _arePagesSent = true;
            return _pages.View;
        }
    }

    // i32 [1, numKvHeads]: the slots of each cell that are stored in full.
    private TensorView FullLengths
    {
        get
        {
            Span<int> row = _fullLengths.Begin(1, Shape.NumKvHeads);
            for (int h = 0; h < row.Length; h++)
                row[h] = _cells[h].FullLength;
            return _fullLengths.End();
        }
    }

    // The slots that are stored in full, as attention takes them beside the keys and values.
    private AttentionInputs FullInputs => new()
    {
        KvLengths = FullLengths,
        PageTable = PageTable,
        KeyScale = KeyScale,
        ValueScale = ValueScale,
        SlotBias = SendBiases(isFull: true),
    };

    /// <summary>
    /// Turns into codes what is to be stored so: whole pages with as many newer slots as stay in full. Nothing for rings, for pages
    /// with a bias, and where the cache has no bits for codes.
    /// </summary>
    public void Quantize()
    {
        if (_codes is null)
            return;
        _toCode.Clear();
        foreach (KvCell cell in _cells)
        {
            for (int i = 0; !cell.IsRing && i < Math.Max(0, cell.Length - _options.FullCount) / PageSize; i++)
            {
                if (cell.Pages[i] >= 0 && !cell.Biases.Slice(i * PageSize, PageSize).ContainsAnyExcept(0f))
                    _toCode.Add((cell, i));
            }
        }
        if (_toCode.Count == 0)
            return;
        _codes.Reserve(_toCode.Count, isExact: false);
        Span<int> sources = _sourcePages.Begin(_toCode.Count), targets = _targetPages.Begin(_toCode.Count);
        for (int i = 0; i < _toCode.Count; i++)
            (sources[i], targets[i]) = (_toCode[i].Cell.Pages[_toCode[i].Page], _codes.Take());
        KvCells.Quantize(Key, Value, Codes, _sourcePages.End(), _targetPages.End());
        for (int i = 0; i < _toCode.Count; i++)
        {
            (KvCell cell, int page) = _toCode[i];
            _pool.Return(cell.Pages[page]);
            cell.Pages[page] = ~targets[i];
            cell.CodedLength += PageSize;
        }
        _arePagesSent = false;
        TrimIfSparse();
    }

    // Stores the pages of a cell from one on in full.
    private void Restore(KvCell cell, int firstPage)
    {
        int count = 0;
        for (int i = firstPage; i < cell.Pages.Count; i++)
            count += cell.Pages[i] < 0 ? 1 : 0;
        if (count == 0)
            return;
        _pool.Reserve(count, isExact: false);
        Span<int> sources = _sourcePages.Begin(count), targets = _targetPages.Begin(count);
        for (int i = firstPage, next = 0; i < cell.Pages.Count; i++)
        {
            if (cell.Pages[i] >= 0)
                continue;
            (sources[next], targets[next]) = (~cell.Pages[i], _pool.Take());
            ReturnCodes(cell, i);
            cell.Pages[i] = targets[next++];
        }
        KvCells.Dequantize(Key, Value, Codes, _sourcePages.End(), _targetPages.End());
        _arePagesSent = false;
    }

    private void ReturnCodes(KvCell cell, int page)
    {
        _codes!.Return(~cell.Pages[page]);
        cell.CodedLength -= PageSize;
    }

    // Stores in full what changes its place, and returns what is kept, counted among the slots stored in full: what is still codes
    // then comes before all that moves.
    private (int[] Slots, int[] Counts) RestoreMoved(int[] slots, int[] counts)
    {
        if (!HasCodes)
            return (slots, counts);
        int capacity = Capacity;
        var fullSlots = new int[slots.Length];
        var fullCounts = new int[counts.Length];
        Array.Fill(fullSlots, -1);
        for (int h = 0; h < _cells.Length; h++)
        {
            ReadOnlySpan<int> kept = slots.AsSpan(h * capacity, counts[h]);
            int first = 0;
            while (first < kept.Length && kept[first] == first)
                first++;
            if (first < _cells[h].Length)
                Restore(_cells[h], first / PageSize);
            int coded = _cells[h].CodedLength;
            fullCounts[h] = counts[h] - coded;
            for (int i = 0; i < fullCounts[h]; i++)
                fullSlots[h * capacity + i] = kept[coded + i] - coded;
        }
        return (fullSlots, fullCounts);
    }

    private void RestoreTargets(ReadOnlySpan<int> targets)
    {
        int capacity = Capacity;
        for (int h = 0; HasCodes && h < _cells.Length; h++)
        {
            int first = int.MaxValue;
            for (int slot = 0; slot < _cells[h].Length; slot++)
            {
                if (targets[h * capacity + slot] >= 0)
                    first = Math.Min(first, Math.Min(slot, targets[h * capacity + slot]));
            }
            if (first < int.MaxValue)
                Restore(_cells[h], first / PageSize);
        }
    }

    // Attention over the slots stored in full, to which belong the new ones, and over the codes, which every row sees.
    private void AttendToCodes(TensorView query, TensorView output, TensorView lse, AttentionOptions options)
    {
        TensorView otherLse = _otherLse.Take(DataType.Float32, 1, query[2], query[1]);
        TensorView other = _otherOutput.Take(query.Type, 1, output[1], output[2], output[3]);
        Span<int> lengths = _codeLengths.Begin(1, Shape.NumKvHeads);
        for (int h = 0; h < lengths.Length; h++)
            lengths[h] = _cells[h].CodedLength;
        Attention.Decode(query, Key, Value, output, options, lse, FullInputs);
        Attention.DecodeQuantized(
            query, Codes, SendPages(_codePages, areCodes: true), _codeLengths.End(), other, otherLse, options.SoftmaxScale);
        Attention.Merge(output, lse, other, otherLse);
    }

    // Everything in full, page after page.
    private KvRows ReadCodes()
    {
        int width = SeenWidth, count = 0, numCoded = 0;
        for (int h = 0; h < _cells.Length; h++)
        {
            count += SeenCount(h);
            for (int i = 0; i < SeenCount(h); i++)
                numCoded += _cells[h].Pages[SeenPage(h, i)] < 0 ? 1 : 0;
        }
        TensorView key = _scratch.Keys.Take(Key.Type, count, PageSize, 1, Shape.HeadDim);
        TensorView value = _scratch.Values.Take(Value.Type, count, PageSize, 1, Shape.ValueHeadDim);
        Span<int> table = _readPages.Begin(1, Shape.NumKvHeads, width);
        Span<int> sources = _sourcePages.Begin(numCoded), targets = _targetPages.Begin(numCoded);
        for (int h = 0, next = 0, coded = 0; h < _cells.Length; h++)
        {
            for (int i = 0; i < SeenCount(h); i++, next++)
            {
                int page = _cells[h].Pages[SeenPage(h, i)];
                table[h * width + i] = next;
                if (page < 0)
                {
                    (sources[coded], targets[coded++]) = (~page, next);
                    continue;
                }
                long keyPage = key.Layout.Stride(0), valuePage = value.Layout.Stride(0);
                _scratch.Keys.Tensor!.CopyFrom(_pool[KeyPart], page * keyPage, next * keyPage, keyPage);
                _scratch.Values.Tensor!.CopyFrom(_pool[ValuePart], page * valuePage, next * valuePage, valuePage);
            }
        }
        if (numCoded > 0)
            KvCells.Dequantize(key, value, Codes, _sourcePages.End(), _targetPages.End());
        TensorView pages = _readPages.End();
        if (IsTurnedOnRead)
            key = Turn(default, key, pages);
        return new KvRows(key, value, new AttentionInputs
        {
            KvLengths = SeenLengths,
            PageTable = pages,
            SlotBias = SendBiases(isFull: false),
            Bias = SendDistances(),
        });
    }

    // The keys turned to their present indices, from a source or in place.
    private TensorView Turn(TensorView source, TensorView target, TensorView pages)
    {
        int capacity = SeenWidth * PageSize;
        Span<int> steps = _steps.Begin(Shape.NumKvHeads, capacity);
        for (int h = 0; h < _cells.Length; h++)
        {
            int unseen = UnseenSlots(h);
            for (int slot = 0; slot < _cells[h].Length - unseen; slot++)
                steps[h * capacity + slot] = unseen > 0 ? slot : _cells[h].RankOf(slot);
        }
        KvCells.Rotate(target, Rows(pages), Rows(SeenLengths), _steps.End(), _rotary.Cos, _rotary.Sin, _rotary.IsInterleaved, source);
        return target;
    }

    // i32 [1, numKvHeads, pages]: the pages of each cell that are in the one pool or the other.
    private TensorView SendPages(DeviceTable<int> table, bool areCodes)
    {
        int width = Capacity / PageSize;
        Span<int> pages = table.Begin(1, Shape.NumKvHeads, width);
        for (int h = 0; h < _cells.Length; h++)
        {
            int next = h * width;
            foreach (int page in _cells[h].Pages)
            {
                if (page < 0 == areCodes)
                    pages[next++] = areCodes ? ~page : page;
            }
        }
        return table.End();
    }

    // f32 [1, numHeads, 1, capacity]: linear biases, from the newest token on: what rows differ by does not change their softmax.
    private TensorView SendDistances()
    {
        if (_options.AlibiSlopes is not { } slopes)
            return default;
        int capacity = Capacity, newest = 0, groupSize = slopes.Count / _cells.Length;
        foreach (KvCell cell in _cells)
        {
            for (int slot = 0; slot < cell.Length; slot++)
                newest = Math.Max(newest, PlaceOf(cell, slot));
        }
        Span<float> table = _distances.Begin(1, slopes.Count, 1, capacity);
        for (int head = 0; head < slopes.Count; head++)
        {
            KvCell cell = _cells[head / groupSize];
            for (int slot = 0; slot < cell.Length; slot++)
                table[head * capacity + slot] = slopes[head] * (PlaceOf(cell, slot) - newest);
        }
        return _distances.End();

        int PlaceOf(KvCell cell, int slot) => _options.Positions == KvPositions.Original ? cell.Positions[slot] : cell.RankOf(slot);
    }

    // f32 [1, numKvHeads, seen capacity]: the biases of the slots, of all or of those stored in full; the default when there are none.
    private TensorView SendBiases(bool isFull)
    {
        if (!_hasBiases)
            return default;
        int capacity = SeenWidth * PageSize;
        Span<float> table = _biases.Begin(1, Shape.NumKvHeads, capacity);
        for (int h = 0; h < _cells.Length; h++)
        {
            KvCell cell = _cells[h];
            int next = h * capacity;
            for (int i = 0; i < SeenCount(h); i++)
            {
                int page = SeenPage(h, i);
                if (isFull && cell.Pages[page] < 0)
                    continue;
                ReadOnlySpan<float> biases = cell.Biases[(page * PageSize)..Math.Min(cell.Length, (page + 1) * PageSize)];
                biases.CopyTo(table[next..]);
                next += biases.Length;
            }
        }
        return _biases.End();
    }
}
