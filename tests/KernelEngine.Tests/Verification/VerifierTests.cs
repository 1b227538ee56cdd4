using KernelEngine.Kernels.Cpu.Linear;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Tests.Verification;

/// <summary>The verifier finds every kind of wrong kernel.</summary>
public sealed unsafe class VerifierTests
{
    private static readonly LinearProblem s_problem = new(5, 7, 9);

    [Test]
    public void ARightKernelPasses([Values] OperandPlacement placement) =>
        Assert.That(Verify(placement, (_, _) => { }).IsCorrect);

    [Test]
    public void AnElementSlightlyOffIsFound([Values] OperandPlacement placement)
    {
        VerificationResult result = Verify(placement, (_, output) => ((float*)output.Address(3))[6] += 1e-4f);
        Assert.That(result.IsCorrect, Is.False);
        Assert.That(result.Failure, Does.StartWith("output[27] of [rows=5, outputSize=7] is "));
        Assert.That(result.ToString(), Does.StartWith("linear/spoiled on cpu: 'm=5 n=7 k=9' seed 1: output[27]"));
    }

    [Test]
    public void ANaNIsFound([Values] OperandPlacement placement) =>
        Assert.That(Verify(placement, (_, output) => ((float*)output.Address(0))[0] = float.NaN).IsCorrect, Is.False);

    [Test]
    public void AnElementThatNoOneWroteIsFound([Values] OperandPlacement placement) =>
        Assert.That(Verify(placement, (_, _) => { }, computes: false).IsCorrect, Is.False);

    [Test]
    public void AWriteAfterTheLastElementIsFound([Values] OperandPlacement placement)
    {
        VerificationResult result = Verify(placement, (_, output) => ((float*)output.Address(4))[7] = 0);
        Assert.That(result.Failure, Does.StartWith("output was written outside its elements"));
    }

    [Test]
    public void AWriteBeforeTheFirstElementIsFound([Values] OperandPlacement placement)
    {
        VerificationResult result = Verify(placement, (_, output) => ((float*)output.Address(0))[-1] = 0);
        Assert.That(result.Failure, Is.EqualTo("output was written outside its elements, -4 bytes after its first"));
    }

    [Test]
    public void AWriteBetweenTwoRowsIsFound()
    {
        VerificationResult result = Verify(OperandPlacement.Strided, (_, output) => ((float*)output.Address(2))[7] = 0);
        Assert.That(result.Failure, Does.StartWith("output was written outside its elements"));
    }

    [Test]
    public void AWrittenInputIsFound([Values] OperandPlacement placement)
    {
        VerificationResult result = Verify(placement, (input, _) => ((float*)input.Address(1))[2] = 0);
        Assert.That(result.Failure, Does.StartWith("input is an input but its memory was written"));
    }

    private static VerificationResult Verify(OperandPlacement placement, Spoil spoil, bool computes = true) => Verifier.Verify(
        Verifier.Expect(KernelEngine.Linear.ForwardOperation, s_problem), new SpoiledKernel(spoil, computes), TestDevices.Get("cpu"), placement);

    private delegate void Spoil(RawView input, RawView output);

    /// <summary>The plain computation, and something wrong after it.</summary>
    private sealed class SpoiledKernel(Spoil spoil, bool computes) : CpuKernel<LinearProblem>("linear/spoiled")
    {
        private readonly LinearReference<float> _plain = new("linear/inner", DeviceKinds.Cpu);

        public override void Run(in LinearProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
        {
            if (computes)
                _plain.Run(problem, operands, workspace, workers);
            spoil(operands[LinearProblem.Input], operands[LinearProblem.Output]);
        }
    }
}
