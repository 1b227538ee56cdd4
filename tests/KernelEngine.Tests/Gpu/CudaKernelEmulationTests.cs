namespace KernelEngine.Tests.Gpu;

/// <summary>Kernels with NVIDIA's own instructions against the reference, without a GPU: their PTX is emulated.</summary>
[TestFixture]
public sealed class CudaKernelEmulationTests
{
    private const int Hopper = 90;

    private static readonly Operation<AttentionProblem> s_forward = KernelEngine.Attention.ForwardOperation;

    [TestCase("q=1 k=1 d=64 bf16")]
    [TestCase("q=64 k=64 d=64 bf16")]
    [TestCase("q=128 k=128 d=128 f16")]
    [TestCase("h=4 kv=2 q=65 k=130 d=64 causal f16")]
    [TestCase("b=2 h=2 kv=1 q=150 k=70 d=128 causal bf16")]
    [TestCase("h=2 q=33 k=100 d=256 causal bf16")]
    public void ForwardIsRight(string problem)
    {
        foreach (Kernel<AttentionProblem> kernel in s_forward.Kernels.Where(k => k.Devices == DeviceKinds.Cuda).Cast<Kernel<AttentionProblem>>())
            Check(s_forward, kernel, ProblemText.Parse<AttentionProblem>(problem));
    }

    [TestCase("h=2 q=140 k=300 d=64 left=70 right=20 bf16")]
    [TestCase("h=2 q=140 k=140 d=64 causal topleft f16")]
    [TestCase("q=200 k=260 d=128 causal left=40 bf16")]
    public void WindowIsRight(string problem) =>
        Check(s_forward, (Kernel<AttentionProblem>)s_forward.Kernels.Single(k => k.Name.EndsWith("cuda-mma", StringComparison.Ordinal)),
            ProblemText.Parse<AttentionProblem>(problem));

    [TestCase("q=1 k=1 d=64 bf16")]
    [TestCase("q=17 k=1 d=128 f16")]
    [TestCase("h=4 kv=2 q=65 k=200 d=128 causal bf16")]
    [TestCase("b=2 h=2 q=200 k=65 d=64 causal f16")]
    [TestCase("h=2 kv=1 q=17 k=513 d=64 bf16 gradlse")]
    [TestCase("q=150 k=260 d=128 causal left=40 f16")]
    [TestCase("h=2 q=140 k=300 d=64 left=70 right=20 bf16")]
    [TestCase("q=70 k=140 d=64 causal topleft f16")]
    [TestCase("q=5 k=0 d=128 bf16")]
    public void BackwardIsRight(string problem)
    {
        Operation<AttentionBackwardProblem> backward = KernelEngine.Attention.BackwardOperation;
        foreach (Kernel<AttentionBackwardProblem> kernel in backward.Kernels.Where(k => k.Devices == DeviceKinds.Cuda).Cast<Kernel<AttentionBackwardProblem>>())
            Check(backward, kernel, ProblemText.Parse<AttentionBackwardProblem>(problem));
    }

    private static void Check<TProblem>(Operation<TProblem> operation, Kernel<TProblem> kernel, TProblem problem) where TProblem : struct, IProblem<TProblem>
    {
        if (kernel.WhyUnsupported(problem) is not null)
            return;
        CudaDriver.Emulate(Hopper);
        try
        {
            using GpuDevice device = EmulatedExecutor.OpenDevice(new EmulatedExecutor());
            VerificationResult result = Verifier.Verify(operation, kernel, device, problem);
            Assert.That(result.Failure, Is.Null, result.ToString());
            TestContext.Out.WriteLine($"{kernel.Name}: error {result.Error:g3} of {result.Bar:g3}");
        }
        finally
        {
            CudaDriver.Emulate(0);
        }
    }
}
