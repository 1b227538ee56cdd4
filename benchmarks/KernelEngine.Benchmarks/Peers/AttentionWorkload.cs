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
        if (sizes.KvType == DataType.Int8)
            throw new NotSupportedException("i8 keys and values are made from f32 ones: leave the type out and read the row 'KernelEngine i8'.");
    }

    private AttentionWorkload(AttentionWorkload source, DataType storage)
    {
        bool isQuantised = storage == DataType.Int8;
        (_operation, IsHeadMajor) = (source._operation, source.IsHeadMajor);
        Sizes = source.Sizes with { Type = isQuantised ? DataType.Float32 : storage, KvType = storage };
        Query = HostBuffer.From(Sizes.Type, source.Query.ToSingles());
        if (isQuantised)
        {
            (Key, KeyScale) = Quantise(source.Key, Sizes.HeadDim);
            (Value, ValueScale) = Quantise(source.Value, Sizes.ValueHeadDim);
        }
        else
        {
            Key = HostBuffer.From(storage, source.Key.ToSingles());
            Value = HostBuffer.From(storage, source.Value.ToSingles());
        }
    }

    public AttentionProblem Sizes { get; }

    public bool IsHeadMajor { get; }

    /// <summary>Whether rows see a window of the keys before them, and <see cref="CreateDense"/> something else therefore.</summary>
    public bool HasWindow => Sizes.WindowLeft >= 0;

    /// <summary>[batchSize, queryLength, numHeads, headDim]</summary>
    public HostBuffer Query { get; }

    /// <summary>[batchSize, kvLength, numKvHeads, headDim], or head-major [batchSize, numKvHeads, kvLength, headDim]</summary>
    public HostBuffer Key { get; }

    /// <summary>As the key, with the value's head dimension.</summary>
    public HostBuffer Value { get; }

    /// <summary>The scales of i8 keys, in the order of the rows of a head-major cache.</summary>
    public HostBuffer? KeyScale { get; }

    /// <summary>The scales of i8 values.</summary>
    public HostBuffer? ValueScale { get; }

    /// <summary>The problem without its window.</summary>
    public AttentionProblem Dense => Sizes with { WindowLeft = -1, SinkCount = 0 };

    public override string OperationName => _operation.Name;

    public override IProblem Problem => Sizes;

    public override DataType StorageType => Sizes.KvType == DataType.Float32 ? Sizes.Type : Sizes.KvType;

    public override string Label => base.Label + (IsHeadMajor ? ", head-major cache" : "");

    public override long LibraryResultBytes => BytesOf(Sizes.GetOperand(AttentionProblem.Output));

    /// <summary>The f32 scores of one head, query rows times keys.</summary>
    public override long UnfusedBytes => (long)sizeof(float) * Sizes.QueryLength * Sizes.KvLength;

    public override Workload CreateSmall() => new AttentionWorkload(
        _operation,
        Sizes with { BatchSize = 1, NumHeads = 1, NumKvHeads = 1, QueryLength = Math.Min(Sizes.QueryLength, 8), KvLength = 256 },
        IsHeadMajor);

    public override Contender CreateEngine(Device device, bool isPlain) => CreateEngine(device, Sizes, isPlain);

    /// <summary>The engine's kernel on the same tensors without the window.</summary>
    public Contender CreateDense(Device device) => CreateEngine(device, Dense, isPlain: false);

    /// <summary>The same numbers in another storage. The caller disposes it.</summary>
    /// <exception cref="NotSupportedException">i8 beside a token-major cache, whose scales would lie in another order.</exception>
    public override AttentionWorkload Store(DataType storage) => storage != DataType.Int8 || IsHeadMajor
        ? new(this, storage)
        : throw new NotSupportedException("i8 is measured with a head-major cache");

    public override void Dispose()
    {
        Query.Dispose();
        Key.Dispose();
        Value.Dispose();
        KeyScale?.Dispose();
        ValueScale?.Dispose();
    }

    private Contender CreateEngine(Device device, AttentionProblem p, bool isPlain)
    {
        var output = new HostBuffer(p.Type, p.GetOperand(AttentionProblem.Output).Shape.Count);
        var tensors = new Tensor?[p.OperandCount];
        tensors[AttentionProblem.Query] = Wrap(device, Query, p.GetOperand(AttentionProblem.Query).Shape);
        tensors[AttentionProblem.Key] = Wrap(device, Key, CacheLayout(p.HeadDim));
        tensors[AttentionProblem.Value] = Wrap(device, Value, CacheLayout(p.ValueHeadDim));
        tensors[AttentionProblem.Output] = Wrap(device, output, p.GetOperand(AttentionProblem.Output).Shape);
        if (KeyScale is not null && ValueScale is not null)
        {
            tensors[AttentionProblem.KeyScale] = Wrap(device, KeyScale, p.GetOperand(AttentionProblem.KeyScale).Shape);
            tensors[AttentionProblem.ValueScale] = Wrap(device, ValueScale, p.GetOperand(AttentionProblem.ValueScale).Shape);
        }
        for (int i = AttentionProblem.AlibiSlopes; i < p.OperandCount; i++)
        {
            if (tensors[i] is null && p.GetOperand(i) is { Role: OperandRole.Input } operand)
                tensors[i] = RandomTensors.Create(device, operand, i);
        }
        return CreateEngine(device, _operation, p, isPlain, output, tensors);
    }

    private static (HostBuffer Values, HostBuffer Scales) Quantise(HostBuffer source, int width)
    {
        float[] values = source.ToSingles();
        var scales = new float[values.Length / width];
        for (int row = 0; row < scales.Length; row++)
        {
            Span<float> one = values.AsSpan(row * width, width);
            float largest = 0;
            foreach (float x in one)
                largest = Math.Max(largest, Math.Abs(x));
            scales[row] = largest / 127;
            for (int i = 0; i < width; i++)
                one[i] = largest == 0 ? 0 : one[i] / scales[row];
        }
        return (HostBuffer.From(DataType.Int8, values), HostBuffer.From(DataType.Float32, scales));
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
