using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// What becomes of one query head's scores between the product and the softmax, a segment of a row at a time:
/// <code>
/// x = softCap · tanh(x / softCap)        x += −slope · |position − j| + bias + slotBias        x = −∞ where a mask hides key j
/// </code>
/// Scores come and go in base 2, times log2 e. Each step is a pass of its own over a segment that stays in the first-level
/// cache; a kernel calls this only for a problem that <see cref="AttentionProblem.HasScoreTransform"/>. A hidden score
/// becomes −∞ whatever it was, NaN included.
/// </summary>
internal readonly unsafe struct ScoreTransform<TSimd, TVector>
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f;

    private readonly byte* _bias, _mask, _blockMask;
    private readonly float* _slotBias;
    private readonly long _biasRowBytes, _maskRowBytes, _blockRowBytes, _position;
    private readonly DataType _biasType;
    private readonly int _block, _keyBlocks;
    private readonly float _cap, _slope;
    private readonly bool _hasSlope, _isBiasByKey, _isMaskByKey;

    /// <summary>The transform of a query head's scores in a sequence.</summary>
    public ScoreTransform(in AttentionCall call, in AttentionSequence sequence, int head)
    {
        _cap = call.Problem.LogitSoftCap;
        _hasSlope = call.Problem.Has(AttentionOperands.AlibiSlopes);
        _slope = call.Slope(sequence, head);
        _position = call.Position(sequence, 0);
        _slotBias = call.SlotBias(sequence, head / call.Problem.GroupSize);
        if (call.Bias.IsPresent)
        {
            _bias = call.Bias.Row(sequence.Batch, head, 0);
            _biasRowBytes = call.Bias.RowBytes;
            _biasType = call.Bias.Type;
            _isBiasByKey = call.Bias.KeyStride != 0;
        }
        if (call.Mask.IsPresent)
        {
            _mask = call.Mask.Row(sequence.Batch, head, 0);
            _maskRowBytes = call.Mask.RowBytes;
            _isMaskByKey = call.Mask.KeyStride != 0;
        }
        if (call.BlockMask.IsPresent)
        {
            _blockMask = call.BlockMask.Row(sequence.Batch, head, 0);
            _blockRowBytes = call.BlockMask.RowBytes;
            _block = call.BlockMask.RowsPerElement;
            _keyBlocks = (int)(((long)call.Problem.KvLength + _block - 1) / _block);
        }
    }

    /// <summary>Transforms the scores of the keys <paramref name="key0"/> .. key0 + count − 1.</summary>
    /// <param name="row">The query row within its sequence.</param>
    /// <param name="key0">The first key within its sequence.</param>
    /// <param name="count">How many keys; all of them exist.</param>
    /// <param name="scores">Their scores; what is there up to a whole number of vectors is overwritten too.</param>
    public void Apply(int row, int key0, int count, float* scores)
    {
        if (_cap > 0)
            SoftCap<TSimd, TVector>.Apply(scores, count, _cap);
        if (_hasSlope)
            AddLinear(scores, count, _position + row - key0, _slope);
        if (_bias != null)
            AddBias(_bias + row * _biasRowBytes, key0, count, scores);
        if (_slotBias != null)
            AddRow<Float32Source<TSimd, TVector>>((byte*)_slotBias, key0, count, scores);
        if (_mask != null)
            Hide(_mask + row * _maskRowBytes, key0, count, scores);
        if (_blockMask != null)
            HideBlocks(_blockMask + row / _block * _blockRowBytes, key0, count, scores);
    }

    /// <summary>Whether the masks hide all of some keys from all of some rows, so that their scores need not be computed.</summary>
    public bool HidesAll(int row0, int rows, int key0, int count) =>
        (_blockMask != null && HidesAllBlocks(row0, rows, key0, count)) || (_mask != null && HidesAllKeys(row0, rows, key0, count));

    /// <summary>
    /// How many rows from <paramref name="row"/> on, up to <paramref name="end"/>, the block mask shows the same keys; a dozen or so in any
    /// case, since fewer would leave a matrix product of six rows half empty.
    /// </summary>
    public int AlikeRows(int row, int end)
    {
        const int LeastRows = 12;
        byte* first = _blockMask + row / _block * _blockRowBytes;
        long next = (row / _block + 1L) * _block;
        while (next < end && (next - row < LeastRows || new ReadOnlySpan<byte>(_blockMask + next / _block * _blockRowBytes, _keyBlocks)
            .SequenceEqual(new ReadOnlySpan<byte>(first, _keyBlocks))))
        {
            next += _block;
        }
        return (int)Math.Min(next, end) - row;
    }

    /// <summary>The first key at or after one that the block mask shows to some of the rows; the greatest integer when there is none.</summary>
    public int NextVisibleKey(int row0, int rows, int key)
    {
        int block = key / _block, nearest = int.MaxValue;
        for (int i = row0 / _block; i <= (row0 + rows - 1) / _block && nearest > 0; i++)
        {
            int found = new ReadOnlySpan<byte>(_blockMask + i * _blockRowBytes + block, _keyBlocks - block).IndexOfAnyExcept((byte)0);
            nearest = found < 0 ? nearest : Math.Min(nearest, found);
        }
        return nearest == int.MaxValue ? nearest : (int)Math.Max(key, ((long)block + nearest) * _block);
    }

    private bool HidesAllBlocks(int row0, int rows, int key0, int count)
    {
        for (int i = row0 / _block; i <= (row0 + rows - 1) / _block; i++)
        {
            byte* elements = _blockMask + i * _blockRowBytes;
            for (int j = key0 / _block; j <= (key0 + count - 1) / _block; j++)
            {
                if (elements[j] != 0)
                    return false;
            }
        }
        return true;
    }

    private bool HidesAllKeys(int row0, int rows, int key0, int count)
    {
        for (int i = row0; i < row0 + rows; i++)
        {
            byte* elements = _mask + i * _maskRowBytes;
            if (!_isMaskByKey ? elements[0] != 0 : new ReadOnlySpan<byte>(elements + key0, count).ContainsAnyExcept((byte)0))
                return false;
            if (_maskRowBytes == 0)
                break;
        }
        return true;
    }

    // Distances are integers and float32 holds them exactly up to 2^24.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void AddLinear(float* scores, int count, long distance, float slope)
    {
        TVector lanes = TSimd.Lanes, factor = TSimd.Broadcast(-slope * Log2E);
        for (int i = 0; i < count; i += TSimd.Width)
        {
            TVector distances = TSimd.Abs(TSimd.Subtract(TSimd.Broadcast(distance - i), lanes));
            TSimd.Store(TSimd.MultiplyAdd(factor, distances, TSimd.Load(scores + i)), scores + i);
        }
    }

    private void AddBias(byte* row, int key0, int count, float* scores)
    {
        if (!_isBiasByKey)
            AddOne(scores, count, Element.Read<float>(row, 0, _biasType));
        else if (_biasType == DataType.Float32)
            AddRow<Float32Source<TSimd, TVector>>(row, key0, count, scores);
        else if (_biasType == DataType.Float16)
            AddRow<Float16Source<TSimd, TVector>>(row, key0, count, scores);
        else
            AddRow<BFloat16Source<TSimd, TVector>>(row, key0, count, scores);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void AddOne(float* scores, int count, float bias)
    {
        TVector term = ToBase2(TSimd.Broadcast(bias));
        for (int i = 0; i < count; i += TSimd.Width)
            TSimd.Store(TSimd.Add(TSimd.Load(scores + i), term), scores + i);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void AddRow<TSource>(byte* row, int key0, int count, float* scores) where TSource : struct, ISource<TVector>
    {
        int i = 0;
        for (; i <= count - TSimd.Width; i += TSimd.Width)
            TSimd.Store(TSimd.Add(TSimd.Load(scores + i), ToBase2(TSource.Load(row, (long)key0 + i))), scores + i);
        if (i == count)
            return;
        float* tail = stackalloc float[TSimd.Width];
        for (int t = 0; t < TSimd.Width; t++)
            tail[t] = i + t < count ? TSource.LoadOne(row, (long)key0 + i + t) : 0f;
        TSimd.Store(TSimd.Add(TSimd.Load(scores + i), ToBase2(TSimd.Load(tail))), scores + i);
    }

    // A finite bias stays finite: rows whose keys all have the lowest finite bias (which many use for a mask) see them alike,
    // and only −∞ hides.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector ToBase2(TVector bias)
    {
        TVector lowest = TSimd.Broadcast(float.MinValue), product = TSimd.Multiply(bias, TSimd.Broadcast(Log2E));
        return TSimd.SelectLess(bias, lowest, bias, TSimd.SelectLess(product, lowest, lowest, product));
    }

    private void Hide(byte* row, int key0, int count, float* scores)
    {
        if (_isMaskByKey)
            HideKeys(row + key0, count, scores);
        else if (row[0] == 0)
            new Span<float>(scores, count).Fill(float.NegativeInfinity);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void HideKeys(byte* isVisible, int count, float* scores)
    {
        int i = 0;
        for (; i <= count - TSimd.Width; i += TSimd.Width)
            TSimd.Store(TSimd.HideFalse(TSimd.Load(scores + i), isVisible + i), scores + i);
        for (; i < count; i++)
            scores[i] = isVisible[i] != 0 ? scores[i] : float.NegativeInfinity;
    }

    private void HideBlocks(byte* row, int key0, int count, float* scores)
    {
        int last = (key0 + count - 1) / _block;
        for (int block = key0 / _block; block <= last; block++)
        {
            int hidden = new ReadOnlySpan<byte>(row + block, last + 1 - block).IndexOf((byte)0);
            if (hidden < 0)
                return;
            block += hidden;
            int first = Math.Max(0, (int)((long)block * _block - key0)), end = (int)Math.Min(count, (block + 1L) * _block - key0);
            new Span<float>(scores + first, end - first).Fill(float.NegativeInfinity);
        }
    }
}
