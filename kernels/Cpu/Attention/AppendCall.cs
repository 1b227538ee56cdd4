namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>An append with its operands: where the rows of each new token come from and go to.</summary>
internal readonly unsafe struct AppendCall(in AttentionAppendProblem problem, ReadOnlySpan<RawView> operands)
{
    public readonly AttentionAppendProblem Problem = problem;
    public readonly RawView NewKey = operands[AttentionAppendProblem.NewKey], NewValue = operands[AttentionAppendProblem.NewValue];
    public readonly RawView KeyCache = operands[AttentionAppendProblem.KeyCache], ValueCache = operands[AttentionAppendProblem.ValueCache];
    public readonly RawView KeyScale = operands[AttentionAppendProblem.KeyScale], ValueScale = operands[AttentionAppendProblem.ValueScale];
    public readonly RawView Query = operands[AttentionAppendProblem.Query];
    private readonly RawView _positions = operands[AttentionAppendProblem.Positions], _lengths = operands[AttentionAppendProblem.KvLengths];
    private readonly RawView _cos = operands[AttentionAppendProblem.Cos], _sin = operands[AttentionAppendProblem.Sin];
    private readonly RawView _pages = operands[AttentionAppendProblem.PageTable];

    /// <summary>The cosines of a new token's position.</summary>
    public float* Cosines(int batch, int token) => (float*)_cos.Address((long)_positions.ReadInt32(batch) + token);

    /// <summary>The sines of a new token's position.</summary>
    public float* Sines(int batch, int token) => (float*)_sin.Address((long)_positions.ReadInt32(batch) + token);

    /// <summary>Where a new token's row of a head lies in a cache.</summary>
    public byte* CacheRow(in RawView cache, int batch, int token, int kvHead)
    {
        (int outer, long slot, int head) = Place(batch, token, kvHead);
        return cache.Address(outer, slot, head);
    }

    /// <summary>Where its scale lies.</summary>
    public float* Scale(in RawView scales, int batch, int token, int kvHead)
    {
        (int outer, long slot, int head) = Place(batch, token, kvHead);
        return (float*)scales.Address(outer, head, slot);
    }

    private (int Outer, long Slot, int Head) Place(int batch, int token, int kvHead)
    {
        long slot = (long)(_lengths.IsPresent ? _lengths.ReadInt32(batch, kvHead) : _positions.ReadInt32(batch)) + token;
        return Problem.PageSize == 0
            ? (batch, slot, kvHead)
            : (_pages.ReadInt32(batch, kvHead, slot / Problem.PageSize), slot % Problem.PageSize, Problem.IsHeadPaged ? 0 : kvHead);
    }
}
