namespace KernelEngine.Kernels.Cpu.KvCache;

/// <summary>Pages that become codes, or that codes become, with their operands: both ways take the same in the same order.</summary>
internal readonly unsafe struct PageCodesCall(in KvCacheQuantizeProblem problem, ReadOnlySpan<RawView> operands)
{
    public readonly KvCacheQuantizeProblem Problem = problem;
    public readonly RawView Key = operands[KvCacheQuantizeProblem.Key], Value = operands[KvCacheQuantizeProblem.Value];
    public readonly RawView KeyCodes = operands[KvCacheQuantizeProblem.KeyCodes], ValueCodes = operands[KvCacheQuantizeProblem.ValueCodes];
    public readonly RawView KeyScale = operands[KvCacheQuantizeProblem.KeyScale], KeyMinimum = operands[KvCacheQuantizeProblem.KeyMinimum];
    public readonly RawView ValueScale = operands[KvCacheQuantizeProblem.ValueScale];
    public readonly RawView ValueMinimum = operands[KvCacheQuantizeProblem.ValueMinimum];
    private readonly RawView _sourcePages = operands[KvCacheQuantizeProblem.SourcePages];
    private readonly RawView _targetPages = operands[KvCacheQuantizeProblem.TargetPages];

    /// <summary>Elements of a page's keys and values.</summary>
    public long PageElements => (long)Problem.PageSize * (Problem.HeadDim + Problem.ValueHeadDim);

    /// <summary>The page to read and the page to write of one to do.</summary>
    public (int Source, int Target) PagesOf(long index) => (_sourcePages.ReadInt32(index), _targetPages.ReadInt32(index));
}
