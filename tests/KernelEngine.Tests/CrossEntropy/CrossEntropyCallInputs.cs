using Forward = KernelEngine.CrossEntropyProblem;

namespace KernelEngine.Tests.CrossEntropy;

/// <summary>Random inputs of a problem with a bias as the facade takes them: the same in every process.</summary>
internal sealed class CrossEntropyCallInputs(Device device, CrossEntropyBackwardProblem problem) : IDisposable
{
    public Tensor Hidden { get; } = RandomTensors.Create(device, problem.GetOperand(Forward.Hidden), 1);

    public Tensor Classifier { get; } = RandomTensors.Create(device, problem.GetOperand(Forward.Classifier), 2);

    public Tensor Bias { get; } = RandomTensors.Create(device, problem.GetOperand(Forward.Bias), 3);

    public Tensor Targets { get; } = RandomTensors.Create(device, problem.GetOperand(Forward.Targets), 4);

    public CrossEntropyOptions Options { get; } = new()
    {
        LabelSmoothing = problem.Forward.Loss.LabelSmoothing,
        ZLoss = problem.Forward.Loss.ZLoss,
        LogitSoftCap = problem.Forward.LogitSoftCap,
        Shift = problem.Forward.Loss.Shift,
        SequenceLength = problem.Forward.Loss.SequenceLength,
    };

    public void Dispose()
    {
        foreach (Tensor tensor in (Tensor[])[Hidden, Classifier, Bias, Targets])
            tensor.Dispose();
    }
}
