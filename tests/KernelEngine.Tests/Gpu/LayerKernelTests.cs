namespace KernelEngine.Tests.Gpu;

/// <summary>The small layers on GPU devices, at the edges of their blocks, and what random logits never hold: ties, NaN, infinities.</summary>
[TestFixture("simulator", Category = "Simulator")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
public sealed class LayerKernelTests(string name)
{
    private static readonly float[][] HardRows =
    [
        [1, 3, 3, 3, 2, 3], [0f, -0f, 0f, -0f, -1, 0], [float.NegativeInfinity, -5, float.NegativeInfinity, -5, -6, float.NegativeInfinity],
        [float.NegativeInfinity, float.NegativeInfinity, float.NegativeInfinity, float.NegativeInfinity, float.NegativeInfinity, float.NegativeInfinity],
        [1, 2, float.NaN, 3, 4, 5], [1, float.PositiveInfinity, 3, float.PositiveInfinity, 0, 1], [-1e30f, 1e30f, 3, -3, 1e30f, 0],
    ];

    private static readonly string[] SampleOptions =
        ["", "topk=1", "topk=2", "topk=3", "topk=9", "topp=0.5", "topp=0", "topp=0.7 topk=4", "minp=1", "minp=0.3", "temp=0", "temp=2.5 topk=3 minp=0.1"];

    private Device Device => TestDevices.Get(name);

    [TestCase("m=2 n=511")]
    [TestCase("m=2 n=512")]
    [TestCase("m=2 n=513")]
    public void RmsNorm(string problem) => Verify(KernelEngine.Layers.RmsNormOperation, problem);

    [TestCase("m=2 n=511")]
    [TestCase("m=2 n=512")]
    [TestCase("m=2 n=513")]
    public void SwiGlu(string problem) => Verify(KernelEngine.Layers.SwiGluOperation, problem);

    [TestCase("m=2 n=511")]
    [TestCase("m=2 n=512")]
    [TestCase("m=2 n=513")]
    public void ResidualAdd(string problem) => Verify(KernelEngine.Layers.ResidualAddOperation, problem);

    [TestCase("t=3 v=5 n=512")]
    [TestCase("t=3 v=5 n=513 w=f16")]
    [TestCase("t=3 v=1 n=520 w=bf16")]
    public void Embedding(string problem) => Verify(KernelEngine.Layers.EmbeddingOperation, problem);

    [TestCase("t=2 h=1 d=128")]
    [TestCase("t=1 h=3 d=86 start=2 maxpos=4 interleaved bf16")]
    [TestCase("t=3 h=2 d=10 rd=0")]
    public void Rotary(string problem) => Verify(KernelEngine.Layers.RotaryOperation, problem);

    [TestCase("m=2 n=511")]
    [TestCase("m=2 n=513")]
    public void ArgMax(string problem) => Verify(KernelEngine.Layers.ArgMaxOperation, problem);

    [TestCase("m=2 n=129 topk=7 topp=0.9")]
    [TestCase("m=2 n=128 minp=0.1 temp=0.5")]
    public void Sample(string problem) => Verify(KernelEngine.Layers.SampleOperation, problem);

    [Test]
    public void ArgMaxOfHardRowsIsTheReferences() =>
        Assert.That(RunRows(Device, KernelEngine.Layers.ArgMaxOperation, new ArgMaxProblem(HardRows.Length, 6), 0), Is.EqualTo(
            (int[])[1, 0, 1, -1, -1, 1, 1]));

    [TestCaseSource(nameof(SampleOptions))]
    public void SampleOfHardRowsIsTheReferences(string options)
    {
        var problem = ProblemText.Parse<SampleProblem>($"m={HardRows.Length} n=6 {options}");
        using Device reference = DeviceList.Open("reference");
        foreach (float uniform in name == "simulator" ? (float[])[0.49f] : [0f, 0.22f, 0.49f, 0.77f, 0.99999994f])
        {
            Assert.That(
                RunRows(Device, KernelEngine.Layers.SampleOperation, problem, uniform),
                Is.EqualTo(RunRows(reference, KernelEngine.Layers.SampleOperation, problem, uniform)), $"uniform {uniform}");
        }
    }

    private static int[] RunRows<TProblem>(Device device, Operation<TProblem> operation, in TProblem problem, float uniform)
        where TProblem : struct, IProblem<TProblem>
    {
        using Tensor logits = Tensor.From<float>(device, HardRows.SelectMany(r => r).ToArray(), HardRows.Length, 6);
        using Tensor uniforms = Tensor.From<float>(device, Enumerable.Repeat(uniform, HardRows.Length).ToArray(), HardRows.Length);
        using Tensor indices = Tensor.Allocate(device, DataType.Int32, HardRows.Length);
        device.Run(operation, problem, problem.OperandCount == 2 ? [logits, indices] : [logits, uniforms, indices]);
        return indices.ToArray<int>();
    }

    private void Verify<TProblem>(Operation<TProblem> operation, string text) where TProblem : struct, IProblem<TProblem>
    {
        var problem = ProblemText.Parse<TProblem>(text);
        Expectation<TProblem> expectation = Verifier.Expect(operation, problem);
        foreach (OperandPlacement placement in Enum.GetValues<OperandPlacement>())
        {
            VerificationResult result = Verifier.Verify(expectation, operation.Select(Device.Kind, problem), Device, placement);
            Assert.That(result.IsCorrect, $"{placement}: {result}");
        }
    }
}
