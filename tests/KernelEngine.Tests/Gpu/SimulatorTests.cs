using NUnit.Framework;

namespace KernelEngine.Tests.Gpu;

/// <summary>GPU kernels on the simulator, on the smallest problems that reach every branch: each GPU thread costs a system thread.</summary>
[TestFixture]
public sealed class SimulatorTests
{
    private static readonly string[] ForwardProblems =
    [
        "q=1 k=1 d=1", "h=2 kv=1 q=3 k=5 d=40 dv=12 causal", "q=5 k=2 d=4 causal", "q=2 k=0 d=8", "q=3 k=37 d=20 dv=70 bf16",
        "b=2 h=2 q=2 k=35 d=4 causal f16", "q=2 k=3 d=3 dv=130 kvtype=bf16",
    ];

    private static readonly string[] LinearProblems =
        ["m=1 n=1 k=1", "m=1 n=7 k=259", "m=4 n=5 k=264 w=bf16", "m=2 n=6 k=9 w=f16", "m=7 n=66 k=65", "m=65 n=3 k=36 w=bf16", "m=3 n=4 k=0", "m=5 n=4 k=8 w=f16"];

    private Device _device = null!;

    [OneTimeSetUp]
    public void Open() => _device = DeviceList.Open("simulator");

    [OneTimeTearDown]
    public void Close() => _device.Dispose();

    [TestCaseSource(nameof(ForwardProblems))]
    public void AttentionForward(string text) => VerifyAll(Attention.ForwardOperation, text);

    [TestCaseSource(nameof(LinearProblems))]
    public void LinearForward(string text) => VerifyAll(Linear.ForwardOperation, text);

    private void VerifyAll<TProblem>(Operation<TProblem> operation, string text) where TProblem : struct, IProblem<TProblem>
    {
        TProblem problem = ProblemText.Parse<TProblem>(text);
        using (Assert.EnterMultipleScope())
        {
            foreach (Kernel<TProblem> kernel in operation.Kernels)
            {
                if ((kernel.Devices & _device.Kind) == 0 || kernel.WhyUnsupported(problem) is not null)
                    continue;
                VerificationResult result = Verifier.Verify(operation, kernel, _device, problem);
                Assert.That(result.IsCorrect, result.ToString());
            }
        }
    }
}
