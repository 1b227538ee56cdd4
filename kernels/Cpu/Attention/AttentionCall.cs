using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// A problem with its operands: where the rows of each sequence lie, which keys each row sees, and what becomes of a score.
/// Everything that varies between the kinds of attention is here, apart from the loops over keys.
/// </summary>
internal readonly unsafe struct AttentionCall
{
    public readonly AttentionProblem Problem;
    public readonly RawView Query, Key, Value, Output, Lse;
    public readonly BroadcastView Bias, Mask, BlockMask;
    private readonly RawView _slopes, _sinks, _windows, _queryOffsets, _kvOffsets, _lengths, _pages, _slotBias, _keyScale, _valueScale;
    private readonly RawView _gain, _offset;

    public AttentionCall(in AttentionProblem problem, ReadOnlySpan<RawView> operands)
    {
        Problem = problem;
        Query = operands[AttentionProblem.Query];
        Key = operands[AttentionProblem.Key];
        Value = operands[AttentionProblem.Value];
        Output = operands[AttentionProblem.Output];
        Lse = operands[AttentionProblem.Lse];
        Bias = new BroadcastView(operands[AttentionProblem.Bias]);
        Mask = new BroadcastView(operands[AttentionProblem.Mask]);
        BlockMask = new BroadcastView(operands[AttentionProblem.BlockMask], problem.MaskBlock);
        _slopes = operands[AttentionProblem.AlibiSlopes];
        _sinks = operands[AttentionProblem.SinkLogits];
        _windows = operands[AttentionProblem.HeadWindows];
        _queryOffsets = operands[AttentionProblem.QueryOffsets];
        _kvOffsets = operands[AttentionProblem.KvOffsets];
        _lengths = operands[AttentionProblem.KvLengths];
        _pages = operands[AttentionProblem.PageTable];
        _slotBias = operands[AttentionProblem.SlotBias];
        _keyScale = operands[AttentionProblem.KeyScale];
        _valueScale = operands[AttentionProblem.ValueScale];
        _gain = operands[AttentionProblem.HeadGain];
        _offset = operands[AttentionProblem.HeadOffset];
    }

    /// <summary>One sequence for one key/value head: cached lengths may differ by head.</summary>
    public AttentionSequence GetSequence(int index, int kvHead)
    {
        if (Problem.RaggedSequences > 0)
        {
            int query = _queryOffsets.ReadInt32(index), key = _kvOffsets.ReadInt32(index);
            return new AttentionSequence(
                index, 0, query, _queryOffsets.ReadInt32(index + 1) - query, key, _kvOffsets.ReadInt32(index + 1) - key);
        }
        int length = _lengths.IsPresent ? _lengths.ReadInt32(index, kvHead) : Problem.KvLength;
        return new AttentionSequence(index, index, 0, Problem.QueryLength, 0, length);
    }

    /// <summary>The keys that a row of a sequence may see, before masks; rows and keys are numbered from the sequence's first.</summary>
    public KeyRange GetRange(in AttentionSequence sequence, int head, int row)
    {
        (int left, int sinks) = _windows.IsPresent
            ? (_windows.ReadInt32(head, 0), Math.Max(0, _windows.ReadInt32(head, 1)))
            : (Problem.WindowLeft, Problem.SinkCount);
        return Problem.GetRange(row, sequence.QueryLength, sequence.KvLength, left, sinks);
    }

    /// <summary>Where a row stands among the keys.</summary>
    public long Position(in AttentionSequence sequence, int row) =>
        row + (Problem.Alignment == CausalAlignment.TopLeft ? 0L : (long)sequence.KvLength - sequence.QueryLength);

    public byte* QueryRow(in AttentionSequence sequence, int head, int row) => Query.Address(sequence.Batch, (long)sequence.QueryStart + row, head);

    public byte* OutputRow(in AttentionSequence sequence, int head, int row) => Output.Address(sequence.Batch, (long)sequence.QueryStart + row, head);

    public byte* KeyRow(in AttentionSequence sequence, int kvHead, int key) => Row(Key, sequence, kvHead, key);

    public byte* ValueRow(in AttentionSequence sequence, int kvHead, int key) => Row(Value, sequence, kvHead, key);

    /// <summary>The factor on a stored key: 1 but for i8.</summary>
    public float KeyScale(in AttentionSequence sequence, int kvHead, int key) =>
        _keyScale.IsPresent ? *Scale(_keyScale, sequence, kvHead, key) : 1f;

    /// <summary>The factor on a stored value: 1 but for i8.</summary>
    public float ValueScale(in AttentionSequence sequence, int kvHead, int key) =>
        _valueScale.IsPresent ? *Scale(_valueScale, sequence, kvHead, key) : 1f;

    /// <summary>
    /// The keys that lie evenly in memory from <paramref name="key"/> on: to the end of its page, or all.
    /// </summary>
    public int RunLength(in AttentionSequence sequence, int key) =>
        Problem.PageSize > 0 ? Math.Min(Problem.PageSize - key % Problem.PageSize, sequence.KvLength - key) : sequence.KvLength - key;

    /// <summary>ALiBi's slope of a head, 0 without.</summary>
    public float Slope(in AttentionSequence sequence, int head) => _slopes.IsPresent ? *(float*)_slopes.Address(sequence.Index, head) : 0f;

    /// <summary>The learned logit of a head, −∞ without.</summary>
    public float SinkLogit(int head) => _sinks.IsPresent ? *(float*)_sinks.Address(head) : float.NegativeInfinity;

    /// <summary>The biases of the stored keys of a head, one a key, or null.</summary>
    public float* SlotBias(in AttentionSequence sequence, int kvHead) =>
        _slotBias.IsPresent ? (float*)_slotBias.Address(sequence.Batch, kvHead) : null;

    /// <summary>The factor on a head's output.</summary>
    public float Gain(int head) => _gain.IsPresent ? *(float*)_gain.Address(head) : 1f;

    /// <summary>What is added to a head's output, valueHeadDim floats, or null.</summary>
    public float* Offset(int head) => _offset.IsPresent ? (float*)_offset.Address(head) : null;

    /// <summary>Whether no mask hides a key that <see cref="GetRange"/> leaves.</summary>
    public bool IsVisible(in AttentionSequence sequence, int head, int row, int key) =>
        (!Mask.IsPresent || Mask.Row(sequence.Batch, head, row)[key * Mask.KeyStride] != 0)
        && (!BlockMask.IsPresent || BlockMask.Row(sequence.Batch, head, row)[key / BlockMask.RowsPerElement * BlockMask.KeyStride] != 0);

    /// <summary>A score after soft cap, linear bias and biases: a, from x = scale · q · k.</summary>
    public T Transform<T>(in AttentionSequence sequence, int head, int row, int key, T x) where T : struct, IFloatingPointIeee754<T>
    {
        if (Problem.LogitSoftCap > 0)
        {
            T cap = T.CreateChecked(Problem.LogitSoftCap);
            x = cap * T.Tanh(x / cap);
        }
        if (_slopes.IsPresent)
            x -= T.CreateChecked(Slope(sequence, head)) * T.Abs(T.CreateChecked(Position(sequence, row) - key));
        if (Bias.IsPresent)
            x += Element.Read<T>(Bias.Row(sequence.Batch, head, row), key * Bias.KeyStride, Bias.Type);
        if (_slotBias.IsPresent)
            x += T.CreateChecked(SlotBias(sequence, head / Problem.GroupSize)[key]);
        return x;
    }

    /// <summary>The factors on the stored keys of a run, from <paramref name="key"/> on; null but for i8.</summary>
    public float* KeyScales(in AttentionSequence sequence, int kvHead, int key) =>
        _keyScale.IsPresent ? Scale(_keyScale, sequence, kvHead, key) : null;

    /// <summary>The factors on the stored values of a run, from <paramref name="key"/> on; null but for i8.</summary>
    public float* ValueScales(in AttentionSequence sequence, int kvHead, int key) =>
        _valueScale.IsPresent ? Scale(_valueScale, sequence, kvHead, key) : null;

    private float* Scale(in RawView view, in AttentionSequence sequence, int kvHead, int key)
    {
        if (Problem.PageSize == 0)
            return (float*)view.Address(sequence.Batch, kvHead, (long)sequence.KeyStart + key);
        int page = _pages.ReadInt32(sequence.Batch, kvHead, key / Problem.PageSize);
        return (float*)view.Address(page, Problem.IsHeadPaged ? 0 : kvHead, key % Problem.PageSize);
    }

    private byte* Row(in RawView view, in AttentionSequence sequence, int kvHead, int key)
    {
        if (Problem.PageSize == 0)
            return view.Address(sequence.Batch, (long)sequence.KeyStart + key, kvHead);
        int page = _pages.ReadInt32(sequence.Batch, kvHead, key / Problem.PageSize);
        return view.Address(page, key % Problem.PageSize, Problem.IsHeadPaged ? 0 : kvHead);
    }
}
