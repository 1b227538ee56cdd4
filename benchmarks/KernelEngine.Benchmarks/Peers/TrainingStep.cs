namespace KernelEngine.Benchmarks.Peers;

/// <summary>Forward and backward pass as one problem: what a training step computes of attention.</summary>
/// <param name="Backward">The gradients, with the forward pass they are of.</param>
public sealed record TrainingStep(AttentionBackwardProblem Backward) : IProblem
{
    public int OperandCount => Backward.OperandCount;

    /// <summary>Two products of the forward pass and five of the backward pass, which computes the scores again.</summary>
    public double Flops => Backward.Forward.Flops + Backward.Flops;

    public double Bytes => Backward.Forward.Bytes + Backward.Bytes;

    public Operand GetOperand(int index) => Backward.GetOperand(index);

    public string? FindError() => Backward.FindError();

    public string ToText() => Backward.ToText();
}
