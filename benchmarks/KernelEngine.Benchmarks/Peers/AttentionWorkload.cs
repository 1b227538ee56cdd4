namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// Attention with its tensors. Queries are token-major; keys and values are token-major, or head-major (each head's rows one
/// after another, as caches are kept), which the engine sees through strides.
/// </summary>
public sealed class AttentionWorkload : Workload
{
    private readonly Operation<AttentionProblem> _operation;

    public AttentionWorkload(Operation<AttentionProblem> operation, AttentionProblem sizes, bool isHeadMajor)
    {
        (_operation, Sizes, IsHeadMajor) = (operation, sizes, isHeadMajor);
        long keys = (long)sizes.BatchSize * sizes.KvLength * sizes.NumKvHeads;
        Query = HostBuffer.Random(sizes.Type, (long)sizes.BatchSize * sizes.QueryLength * sizes.NumHeads * sizes.HeadDim, 1);
        Key = HostBuffer.Random(sizes.KvType, keys * sizes.HeadDim, 2);
        Value = HostBuffer.Random(sizes.KvType, keys * sizes.ValueHeadDim, 3);
    }

    public AttentionProblem Sizes { get; }

    public bool IsHeadMajor { get; }

    /// <summary>[batchSize, queryLength, numHeads, headDim]</summary>
    public HostBuffer Query { get; }

    /// <summary>[batchSize, kvLength, numKvHeads, headDim], or head-major [batchSize, numKvHeads, kvLength, headDim]</summary>
    public HostBuffer Key { get; }

    /// <summary>As the key, with the value's head dimension.</summary>
    public HostBuffer Value { get; }

    public override string OperationName => _operation.Name;

    public override IProblem Problem => Sizes;

    public override DataType StorageType => Sizes.KvType == DataType.Float32 ? Sizes.Type : Sizes.KvType;

    public override string Label => base.Label + (IsHeadMajor ? ", head-major cache" : "");

    public override Workload CreateSmall() => new AttentionWorkload(
        _operation,
        Sizes with { BatchSize = 1, NumHeads = 1, NumKvHeads = 1, QueryLength = Math.Min(Sizes.QueryLength, 8), KvLength = 256 },
        IsHeadMajor);

    public override Contender CreateEngine(Device device, bool isPlain)
    {
        AttentionProblem p = Sizes;
        var output = new HostBuffer(p.Type, p.GetOperand(AttentionProblem.Output).Shape.Count);
        return CreateEngine(
            device, _operation, p, isPlain, output,
            Wrap(device, Query, p.GetOperand(AttentionProblem.Query).Shape),
            Wrap(device, Key, CacheLayout(p.HeadDim)),
            Wrap(device, Value, CacheLayout(p.ValueHeadDim)),
            Wrap(device, output, p.GetOperand(AttentionProblem.Output).Shape));
    }

    public override void Dispose()
    {
        Query.Dispose();
        Key.Dispose();
        Value.Dispose();
    }

    // [batchSize, kvLength, numKvHeads, width] either way.
    private TensorLayout CacheLayout(int width)
    {
        long batch = Sizes.BatchSize, length = Sizes.KvLength, heads = Sizes.NumKvHeads;
        return IsHeadMajor
            ? new TensorLayout([batch, length, heads, width], [heads * length * width, width, length * width, 1])
            : TensorLayout.Contiguous(batch, length, heads, width);
    }
}
