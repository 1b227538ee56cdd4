namespace KernelEngine.Benchmarks.Peers;

/// <summary>The loss of a classifier over a vocabulary, with its tensors. Its result is the loss and each position's log-sum-exp.</summary>
public sealed class CrossEntropyWorkload : Workload
{
    public CrossEntropyWorkload(CrossEntropyProblem sizes)
    {
        if (sizes.IsShard)
            throw new NotSupportedException("A shard of a vocabulary has no loss of its own: leave 'shard' out.");
        Sizes = sizes;
        (Hidden, Classifier, Targets) = LanguageModelLogits.Create(sizes);
    }

    private CrossEntropyWorkload(CrossEntropyWorkload source, DataType storage)
    {
        Sizes = source.Sizes with { Type = storage };
        Hidden = HostBuffer.From(storage, source.Hidden.ToSingles());
        Classifier = HostBuffer.From(storage, source.Classifier.ToSingles());
        Targets = HostBuffer.From(DataType.Int32, source.Targets.ToSingles());
    }

    public CrossEntropyProblem Sizes { get; }

    /// <summary>[rows, hiddenSize]</summary>
    public HostBuffer Hidden { get; }

    /// <summary>[vocabSize, hiddenSize]</summary>
    public HostBuffer Classifier { get; }

    /// <summary>i32 [rows]</summary>
    public HostBuffer Targets { get; }

    /// <summary>Whether it is the mean loss and nothing more, which every library has.</summary>
    public bool IsPlain =>
        Sizes == new CrossEntropyProblem(new CrossEntropyLoss(Sizes.Loss.Rows, Sizes.Loss.Classes), Sizes.HiddenSize, Sizes.Type);

    public override string OperationName => CrossEntropy.ForwardOperation.Name;

    public override IProblem Problem => Sizes;

    public override DataType StorageType => Sizes.Type;

    public override IReadOnlyList<int> ResultLengths => [Sizes.Loss.LossCount, Sizes.Loss.Positions];

    public override long LibraryResultBytes => sizeof(float) * Sizes.Loss.LossCount;

    public override long UnfusedBytes => (long)sizeof(float) * Sizes.Loss.Rows * Sizes.Loss.Classes;

    public override Workload CreateSmall() => new CrossEntropyWorkload(Shrink(Sizes));

    /// <summary>A problem of the same kind that takes milliseconds.</summary>
    public static CrossEntropyProblem Shrink(CrossEntropyProblem sizes) => sizes with
    {
        Loss = sizes.Loss with { Rows = Math.Min(sizes.Loss.Rows, 128), SequenceLength = 0, Classes = Math.Min(sizes.Loss.Classes, 512) },
        HiddenSize = Math.Min(sizes.HiddenSize, 64),
    };

    public override CrossEntropyWorkload Store(DataType storage) => storage != DataType.Int8
        ? new(this, storage)
        : throw new NotSupportedException("cross-entropy has no i8 storage");

    public override Contender CreateEngine(Device device, bool isPlain)
    {
        int losses = Sizes.Loss.LossCount;
        var results = new HostBuffer(DataType.Float32, losses + Sizes.Loss.Positions);
        Tensor?[] tensors = CreateInputs(device);
        tensors[CrossEntropyProblem.LossOutput] = Wrap(device, results, Sizes.GetOperand(CrossEntropyProblem.LossOutput).Shape);
        tensors[CrossEntropyProblem.Lse] = Wrap(device, results, Sizes.GetOperand(CrossEntropyProblem.Lse).Shape, losses);
        return CreateEngine(device, CrossEntropy.ForwardOperation, Sizes, isPlain, results, tensors);
    }

    /// <summary>The classifier on a device.</summary>
    public Tensor WrapClassifier(Device device) => Wrap(device, Classifier, Sizes.GetOperand(CrossEntropyProblem.Classifier).Shape);

    /// <summary>The inputs on a device, absent ones null, with room for the outputs. Tensors and labels are borrowed.</summary>
    public Tensor?[] CreateInputs(Device device)
    {
        var tensors = new Tensor?[Sizes.OperandCount];
        for (int i = 0; i < CrossEntropyProblem.InputCount; i++)
        {
            Operand operand = Sizes.GetOperand(i);
            tensors[i] = i switch
            {
                CrossEntropyProblem.Hidden => Wrap(device, Hidden, operand.Shape),
                CrossEntropyProblem.Classifier => WrapClassifier(device),
                CrossEntropyProblem.Targets => Wrap(device, Targets, operand.Shape),
                _ => operand.Role == OperandRole.Absent ? null : RandomTensors.Create(device, operand, i),
            };
        }
        return tensors;
    }

    public override void Dispose()
    {
        Hidden.Dispose();
        Classifier.Dispose();
        Targets.Dispose();
    }
}
