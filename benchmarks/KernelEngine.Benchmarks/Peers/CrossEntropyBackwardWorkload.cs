using System.Globalization;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// The loss and its gradients of hidden rows and classifier: what a training step does. Its result is the loss, the one and the
/// other. All contenders of the engine write to the same memory: they run one after another.
/// </summary>
public sealed class CrossEntropyBackwardWorkload : Workload
{
    private const float Filter = 1f / 4096;
    private const int OnePassMebibytes = 256;

    private readonly CrossEntropyWorkload _forward;
    private readonly HostBuffer _results, _gradHidden, _gradClassifier;

    public CrossEntropyBackwardWorkload(CrossEntropyBackwardProblem sizes)
        : this(sizes, new CrossEntropyWorkload(sizes.Forward))
    {
    }

    private CrossEntropyBackwardWorkload(CrossEntropyBackwardProblem sizes, CrossEntropyWorkload forward)
    {
        (Sizes, _forward) = (sizes, forward);
        _results = new HostBuffer(DataType.Float32, sizes.Forward.Loss.LossCount + sizes.Forward.Loss.Positions);
        _gradHidden = new HostBuffer(sizes.Forward.Type, forward.Hidden.Count);
        _gradClassifier = new HostBuffer(sizes.Forward.Type, forward.Classifier.Count);
    }

    public CrossEntropyBackwardProblem Sizes { get; }

    /// <summary>The tensors of the forward pass.</summary>
    public CrossEntropyWorkload Inputs => _forward;

    /// <summary>Whether it is the gradient of the mean loss and nothing more.</summary>
    public bool IsPlain => _forward.IsPlain && Sizes == new CrossEntropyBackwardProblem(Sizes.Forward);

    public override string OperationName => CrossEntropy.BackwardOperation.Name;

    /// <summary>Its operations are those of a step that computes the logits once: they count so for everyone.</summary>
    public override IProblem Problem => Sizes;

    public override DataType StorageType => _forward.StorageType;

    public override string Label => base.Label + ", forward and backward";

    public override IReadOnlyList<int> ResultLengths =>
        [Sizes.Forward.Loss.LossCount, (int)_forward.Hidden.Count, (int)_forward.Classifier.Count];

    public override long LibraryResultBytes => _forward.LibraryResultBytes + _forward.Hidden.Bytes + _forward.Classifier.Bytes;

    public override long UnfusedBytes => _forward.UnfusedBytes;

    public override Workload CreateSmall() =>
        new CrossEntropyBackwardWorkload(Sizes with { Forward = CrossEntropyWorkload.Shrink(Sizes.Forward) });

    public override CrossEntropyBackwardWorkload Store(DataType storage)
    {
        CrossEntropyWorkload forward = _forward.Store(storage);
        return new CrossEntropyBackwardWorkload(Sizes with { Forward = forward.Sizes }, forward);
    }

    public override Contender CreateEngine(Device device, bool isPlain) => CreateEngine(device, Sizes, isPlain);

    /// <summary>The engine with a filter, which leaves small probabilities out of the gradients.</summary>
    public Contender CreateFiltered(Device device) => Sizes.FilterEpsilon == 0
        ? CreateEngine(device, Sizes with { FilterEpsilon = Filter }, isPlain: false)
        : throw new NotSupportedException("the problem has a filter of its own");

    /// <summary>The engine's operation for a whole step, with memory in which it keeps logits instead of computing them twice.</summary>
    public Contender CreateOnePass(Device device)
    {
        if (Sizes != new CrossEntropyBackwardProblem(Sizes.Forward))
            throw new NotSupportedException("the operation for a whole step has no filter, and no gradient but the loss's own");
        var sizes = new CrossEntropyTrainingProblem(Sizes.Forward, OnePassMebibytes);
        Tensor?[] tensors = [.. CreateForward(device), null, null, null];
        (tensors[CrossEntropyTrainingProblem.GradHidden], tensors[CrossEntropyTrainingProblem.GradClassifier]) = CreateGradients(device);
        TensorView[] operands = ViewsOf(tensors);
        Operation<CrossEntropyTrainingProblem> operation = CrossEntropy.TrainingOperation;
        Kernel<CrossEntropyTrainingProblem> kernel = operation.Select(device.Kind, sizes);
        return new Contender(
            () => device.Run(operation, sizes, operands, kernel), ReadResults, $"`{kernel.Name}` with {OnePassMebibytes} MiB",
            [.. tensors.OfType<Tensor>()])
        {
            Problem = sizes,
            StorageType = StorageType,
        };
    }

    public override IReadOnlyList<string> Explain(Device device)
    {
        if (!IsPlain)
            return [];
        LogitStudy logits = LogitStudy.Of(_forward, device, Filter);
        try
        {
            return [logits.ToString(), CompareFiltered(device, logits)];
        }
        catch (NotSupportedException e)
        {
            return [logits.ToString(), $"What a filter changes is not known: {e.Message}"];
        }
    }

    public override void Dispose()
    {
        _forward.Dispose();
        _results.Dispose();
        _gradHidden.Dispose();
        _gradClassifier.Dispose();
    }

    private string CompareFiltered(Device device, LogitStudy logits)
    {
        float[] exact, filtered;
        using (Contender contender = CreateEngine(device, isPlain: false))
            exact = RunOnce(contender);
        using (Contender contender = CreateFiltered(device))
            filtered = RunOnce(contender);
        int hidden = (int)_forward.Hidden.Count, size = Sizes.Forward.HiddenSize;
        var ofHidden = GradientError.Of(exact.AsSpan(1, hidden), filtered.AsSpan(1, hidden), size);
        var ofClassifier = GradientError.Of(exact.AsSpan(1 + hidden), filtered.AsSpan(1 + hidden), size);
        string loss = exact[0].Equals(filtered[0])
            ? "the same bits"
            : string.Create(CultureInfo.InvariantCulture, $"**another loss, {filtered[0]:R}**");
        return string.Create(CultureInfo.InvariantCulture, $"Loss {exact[0]:F5}, with the filter {loss}. What the filter changes: ")
            + $"the gradient of hidden rows by {ofHidden.Format(logits.HiddenBound)}; "
            + $"of the classifier by {ofClassifier.Format(logits.ClassifierBound)}.";
    }

    private static float[] RunOnce(Contender contender)
    {
        contender.Run();
        return contender.ReadOutput();
    }

    private Contender CreateEngine(Device device, CrossEntropyBackwardProblem sizes, bool isPlain)
    {
        Tensor?[] forwardTensors = CreateForward(device);
        var tensors = new Tensor?[sizes.OperandCount];
        (tensors[CrossEntropyBackwardProblem.GradHidden], tensors[CrossEntropyBackwardProblem.GradClassifier]) = CreateGradients(device);
        for (int i = CrossEntropyBackwardProblem.Lse + 1; i < sizes.OperandCount; i++)
        {
            if (sizes.GetOperand(i) is { Role: OperandRole.Input, IsOptional: false } operand)
                tensors[i] = RandomTensors.Create(device, operand, i);
        }
        TensorView[] forwardOperands = ViewsOf(forwardTensors), operands = ViewsOf(tensors);
        forwardOperands.AsSpan(0, CrossEntropyProblem.InputCount).CopyTo(operands);
        operands[CrossEntropyBackwardProblem.Lse] = forwardOperands[CrossEntropyProblem.Lse];

        Operation<CrossEntropyProblem> forward = CrossEntropy.ForwardOperation;
        Operation<CrossEntropyBackwardProblem> backward = CrossEntropy.BackwardOperation;
        Kernel<CrossEntropyProblem> forwardKernel = isPlain ? forward.Plain : forward.Select(device.Kind, sizes.Forward);
        Kernel<CrossEntropyBackwardProblem> backwardKernel = isPlain ? backward.Plain : backward.Select(device.Kind, sizes);
        void Run()
        {
            device.Run(forward, sizes.Forward, forwardOperands, forwardKernel);
            device.Run(backward, sizes, operands, backwardKernel);
        }
        return new Contender(
            Run, ReadResults, isPlain ? "scalar, 1 thread" : $"`{forwardKernel.Name}`, `{backwardKernel.Name}`",
            [.. forwardTensors.Concat(tensors).OfType<Tensor>()])
        {
            Problem = sizes,
            StorageType = StorageType,
        };
    }

    // Inputs, and what the forward pass writes.
    private Tensor?[] CreateForward(Device device)
    {
        CrossEntropyProblem p = Sizes.Forward;
        Tensor?[] tensors = _forward.CreateInputs(device);
        tensors[CrossEntropyProblem.LossOutput] = Wrap(device, _results, p.GetOperand(CrossEntropyProblem.LossOutput).Shape);
        tensors[CrossEntropyProblem.Lse] = Wrap(device, _results, p.GetOperand(CrossEntropyProblem.Lse).Shape, p.Loss.LossCount);
        return tensors;
    }

    private (Tensor Hidden, Tensor Classifier) CreateGradients(Device device) => (
        Wrap(device, _gradHidden, Sizes.GetOperand(CrossEntropyBackwardProblem.GradHidden).Shape),
        Wrap(device, _gradClassifier, Sizes.GetOperand(CrossEntropyBackwardProblem.GradClassifier).Shape));

    private static TensorView[] ViewsOf(Tensor?[] tensors) => [.. tensors.Select(tensor => tensor?.View ?? default)];

    private float[] ReadResults()
    {
        int losses = Sizes.Forward.Loss.LossCount;
        var values = new float[losses + _gradHidden.Count + _gradClassifier.Count];
        _results.ToSingles().AsSpan(0, losses).CopyTo(values);
        _gradHidden.CopyTo(values.AsSpan(losses));
        _gradClassifier.CopyTo(values.AsSpan(losses + (int)_gradHidden.Count));
        return values;
    }
}
