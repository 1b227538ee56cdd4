namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// Attention's forward pass and its gradients of query, key and value, with a gradient of the output that is given: what a
/// training step does. All tensors are token-major.
/// </summary>
public sealed class AttentionBackwardWorkload : Workload
{
    private readonly AttentionWorkload _forward;

    public AttentionBackwardWorkload(AttentionBackwardProblem sizes)
        : this(sizes, new AttentionWorkload(Attention.ForwardOperation, sizes.Forward, isHeadMajor: false), RandomGradient(sizes))
    {
    }

    private AttentionBackwardWorkload(AttentionBackwardProblem sizes, AttentionWorkload forward, HostBuffer gradOutput) =>
        (Sizes, _forward, GradOutput) = (sizes, forward, gradOutput);

    public AttentionBackwardProblem Sizes { get; }

    /// <summary>[batchSize, queryLength, numHeads, headDim]</summary>
    public HostBuffer Query => _forward.Query;

    /// <summary>[batchSize, kvLength, numKvHeads, headDim]</summary>
    public HostBuffer Key => _forward.Key;

    /// <summary>[batchSize, kvLength, numKvHeads, valueHeadDim]</summary>
    public HostBuffer Value => _forward.Value;

    /// <summary>[batchSize, queryLength, numHeads, valueHeadDim]</summary>
    public HostBuffer GradOutput { get; }

    public override string OperationName => Attention.BackwardOperation.Name;

    public override IProblem Problem => new TrainingStep(Sizes);

    public override DataType StorageType => _forward.StorageType;

    public override string Label => base.Label + ", forward and backward";

    // The output, the log-sum-exp and three gradients.
    public override long LibraryResultBytes => _forward.LibraryResultBytes + BytesOf(Sizes.Forward.GetOperand(AttentionProblem.Lse))
        + Query.Bytes + Key.Bytes + Value.Bytes;

    public override long UnfusedBytes => _forward.UnfusedBytes;

    public override Workload CreateSmall()
    {
        AttentionProblem p = Sizes.Forward;
        return new AttentionBackwardWorkload(Sizes with
        {
            Forward = p with { BatchSize = 1, NumHeads = 1, NumKvHeads = 1, QueryLength = Math.Min(p.QueryLength, 64), KvLength = 64 },
        });
    }

    public override Workload Store(DataType storage)
    {
        if (storage == DataType.Int8)
            throw new NotSupportedException("gradients are not defined through i8 storage");
        AttentionWorkload forward = _forward.Store(storage);
        return new AttentionBackwardWorkload(
            Sizes with { Forward = forward.Sizes }, forward, HostBuffer.From(storage, GradOutput.ToSingles()));
    }

    public override Contender CreateEngine(Device device, bool isPlain)
    {
        AttentionProblem p = Sizes.Forward;
        var tensors = new List<IDisposable>();
        var gradients = new List<HostBuffer>();
        var operands = new TensorView[Sizes.OperandCount];
        Bind(AttentionProblem.Query, Query);
        Bind(AttentionProblem.Key, Key);
        Bind(AttentionProblem.Value, Value);
        Bind(AttentionBackwardProblem.GradOutput, GradOutput);
        foreach (int result in (int[])[AttentionProblem.Output, AttentionProblem.Lse])
            Bind(result, Zeros(result));
        foreach (int gradient in (int[])[
            AttentionBackwardProblem.GradQuery, AttentionBackwardProblem.GradKey, AttentionBackwardProblem.GradValue])
        {
            gradients.Add(Zeros(gradient));
            Bind(gradient, gradients[^1]);
        }
        for (int i = AttentionProblem.AlibiSlopes; i < operands.Length; i++)
        {
            if (operands[i].IsPresent || Sizes.GetOperand(i) is not { Role: OperandRole.Input } operand)
                continue;
            Tensor tensor = RandomTensors.Create(device, operand, i);
            tensors.Add(tensor);
            operands[i] = tensor.View;
        }
        TensorView[] forwardOperands = operands[..AttentionProblem.Count];
        Operation<AttentionProblem> forward = Attention.ForwardOperation;
        Operation<AttentionBackwardProblem> backward = Attention.BackwardOperation;
        Kernel<AttentionProblem> forwardKernel = isPlain ? forward.Plain : forward.Select(device.Kind, p);
        Kernel<AttentionBackwardProblem> backwardKernel = isPlain ? backward.Plain : backward.Select(device.Kind, Sizes);
        void Run()
        {
            device.Run(forward, p, forwardOperands, forwardKernel);
            device.Run(backward, Sizes, operands, backwardKernel);
        }
        float[] Read() => [.. gradients.SelectMany(gradient => gradient.ToSingles())];
        return new Contender(
            Run, Read, isPlain ? "scalar, 1 thread" : $"`{forwardKernel.Name}`, `{backwardKernel.Name}`", [.. tensors])
        {
            Problem = Problem,
            StorageType = StorageType,
        };

        HostBuffer Zeros(int index)
        {
            Operand operand = Sizes.GetOperand(index);
            var buffer = new HostBuffer(operand.Type, operand.Shape.Count);
            tensors.Add(buffer);
            return buffer;
        }

        // A tensor goes before the memory it stands for.
        void Bind(int index, HostBuffer buffer)
        {
            Tensor tensor = Wrap(device, buffer, Sizes.GetOperand(index).Shape);
            tensors.Insert(0, tensor);
            operands[index] = tensor.View;
        }
    }

    public override void Dispose()
    {
        _forward.Dispose();
        GradOutput.Dispose();
    }

    private static HostBuffer RandomGradient(AttentionBackwardProblem sizes)
    {
        Operand output = sizes.Forward.GetOperand(AttentionProblem.Output);
        return HostBuffer.Random(output.Type, output.Shape.Count, 4);
    }
}
