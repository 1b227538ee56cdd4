namespace KernelEngine.Tests.Gpu;

/// <summary>
/// Kernels with NVIDIA's own instructions against the reference, without a GPU: their launchers run whole, and the emulator takes
/// the device's place.
/// </summary>
[TestFixture]
public sealed class CudaKernelEmulationTests
{
    private const int Hopper = 90;

    [TestCase("attention-forward", "q=1 k=1 d=64 bf16")]
    [TestCase("attention-forward", "q=64 k=64 d=64 bf16")]
    [TestCase("attention-forward", "q=128 k=128 d=128 f16")]
    [TestCase("attention-forward", "h=4 kv=2 q=65 k=430 d=64 causal f16")]
    [TestCase("attention-forward", "b=2 h=2 kv=1 q=150 k=70 d=128 causal bf16")]
    [TestCase("attention-forward", "q=130 k=900 d=128 bf16")]
    [TestCase("attention-forward", "h=2 q=33 k=100 d=256 causal bf16")]
    [TestCase("attention-forward", "h=2 q=140 k=300 d=64 left=70 right=20 bf16")]
    [TestCase("attention-forward", "h=2 q=140 k=140 d=64 causal topleft f16")]
    [TestCase("attention-forward", "q=200 k=260 d=128 causal left=40 bf16")]
    [TestCase("attention-forward", "h=2 kv=1 q=140 k=70 d=96 causal bf16")]
    [TestCase("attention-forward", "q=20 k=130 d=96 left=50 f16")]
    [TestCase("attention-forward", "ragged=4 h=2 kv=1 q=150 k=300 d=64 causal bf16")]
    [TestCase("attention-forward", "ragged=3 q=290 k=150 d=96 left=40 right=9 f16")]
    [TestCase("attention-forward", "ragged=5 q=9 k=200 d=128 bf16")]
    [TestCase("attention-forward", "ragged=2 q=130 k=20 d=256 causal topleft bf16")]
    [TestCase("attention-backward", "q=1 k=1 d=64 bf16")]
    [TestCase("attention-backward", "q=17 k=1 d=128 f16")]
    [TestCase("attention-backward", "h=4 kv=2 q=65 k=200 d=128 causal bf16")]
    [TestCase("attention-backward", "b=2 h=2 q=200 k=65 d=64 causal f16")]
    [TestCase("attention-backward", "h=2 kv=1 q=17 k=513 d=64 bf16 gradlse")]
    [TestCase("attention-backward", "h=2 kv=1 q=350 k=290 d=128 causal bf16")]
    [TestCase("attention-backward", "h=2 kv=1 q=260 k=400 d=64 bf16")]
    [TestCase("attention-backward", "q=130 k=520 d=128 f16")]
    [TestCase("attention-backward", "q=150 k=260 d=128 causal left=40 f16")]
    [TestCase("attention-backward", "h=2 q=140 k=300 d=64 left=70 right=20 bf16")]
    [TestCase("attention-backward", "q=70 k=140 d=64 causal topleft f16")]
    [TestCase("attention-backward", "h=2 kv=1 q=70 k=140 d=96 causal bf16")]
    [TestCase("attention-backward", "q=65 k=200 d=96 left=30 f16 gradlse")]
    [TestCase("attention-backward", "ragged=4 h=2 kv=1 q=150 k=300 d=64 causal bf16")]
    [TestCase("attention-backward", "ragged=3 q=290 k=150 d=96 left=40 right=9 f16")]
    [TestCase("attention-backward", "ragged=5 q=20 k=200 d=128 bf16 gradlse")]
    [TestCase("attention-backward", "q=1 k=1 d=256 f16")]
    [TestCase("attention-backward", "h=4 kv=2 q=65 k=200 d=256 causal bf16")]
    [TestCase("attention-backward", "b=2 h=2 kv=1 q=131 k=77 d=256 causal f16 gradlse")]
    [TestCase("attention-backward", "h=2 q=67 k=130 d=256 left=40 right=9 bf16")]
    [TestCase("attention-backward", "q=90 k=90 d=256 causal topleft f16")]
    [TestCase("attention-backward", "ragged=4 h=2 kv=1 q=150 k=190 d=256 causal bf16")]
    [TestCase("attention-backward", "ragged=3 q=70 k=90 d=256 left=30 f16 gradlse")]
    [TestCase("linear", "m=5 n=2 k=8 w=bf16")]
    [TestCase("linear", "m=130 n=200 k=72 w=bf16")]
    [TestCase("linear", "m=70 n=130 k=264 w=f16")]
    [TestCase("linear", "m=20 n=150 k=2048 w=bf16")]
    [TestCase("linear", "m=20 n=60 k=1032 w=f16")]
    [TestCase("cross-entropy-forward", "n=3 v=5 d=8 bf16")]
    [TestCase("cross-entropy-forward", "n=130 v=700 d=72 bf16 temperature=2")]
    [TestCase("cross-entropy-forward", "n=20 v=300 d=200 f16 none tokenweights")]
    [TestCase("cross-entropy-forward", "n=40 v=3000 d=648 bf16 sum shard=1500 first=700")]
    [TestCase("cross-entropy-forward", "n=300 v=2500 d=40 f16 temperature=2")]
    [TestCase("cross-entropy-forward", "n=130 v=5000 d=8 bf16 shard=4500 first=300")]
    [TestCase("cross-entropy-backward", "n=20 v=2500 d=264 f16 none")]
    [TestCase("cross-entropy-backward", "n=20 v=2500 d=264 bf16 filter=0.01")]
    [TestCase("cross-entropy-backward", "n=140 v=7000 d=72 bf16 sum filter=0.001 fullhidden temperature=6")]
    [TestCase("cross-entropy-backward", "n=300 v=600 d=520 f16 sum filter=0.004 fullclassifier temperature=5")]
    [TestCase("cross-entropy-backward", "n=260 v=3000 d=40 bf16 sum temperature=3")]
    [TestCase("cross-entropy-training", "n=130 v=60 d=64 bf16 sum temperature=8")]
    [TestCase("cross-entropy-training", "n=140 v=300 d=136 f16 sum temperature=12")]
    [TestCase("cross-entropy-training", "n=150 v=7000 d=72 bf16 sum temperature=6")]
    public void IsRight(string operation, string problem)
    {
        Operation what = OperationList.Find(operation);
        CudaDriver.Emulate(Hopper);
        try
        {
            Assert.That(what.Accept(new Check(problem)), Is.Positive, "no kernel computes this problem");
        }
        finally
        {
            CudaDriver.Emulate(0);
        }
    }

    // Returns how many kernels computed the problem.
    private sealed class Check(string text) : IOperationVisitor<int>
    {
        public int Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            var problem = ProblemText.Parse<TProblem>(text);
            int checkedKernels = 0;
            foreach (Kernel<TProblem> kernel in operation.Kernels)
            {
                if (kernel.Devices != DeviceKinds.Cuda || kernel.WhyUnsupported(problem) is not null)
                    continue;
                using var executor = new EmulatedExecutor();
                using GpuDevice device = EmulatedExecutor.OpenDevice(executor);
                VerificationResult result = Verifier.Verify(operation, kernel, device, problem);
                using (Assert.EnterMultipleScope())
                {
                    Assert.That(result.Failure, Is.Null, result.ToString());
                    Assert.That(executor.Statistics, Is.Not.Null, $"{kernel.Name} left the work to a portable kernel");
                    Assert.That(executor.Statistics?.BankConflicts, Is.Zero, $"bank conflicts of {kernel.Name}");
                }
                TestContext.Out.WriteLine($"{kernel.Name}: error {result.Error:g3} of {result.Bar:g3}");
                checkedKernels++;
            }
            return checkedKernels;
        }
    }
}
