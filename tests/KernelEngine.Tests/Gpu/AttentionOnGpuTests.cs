namespace KernelEngine.Tests.Gpu;

/// <summary>What random operands never show of the GPU attention kernels: NaN behind the mask, and each tile and split count.</summary>
[TestFixture("simulator", Category = "Simulator")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
public sealed class AttentionOnGpuTests(string name)
{
    private Device Device => TestDevices.Get(name);

    [TestCase(8, 8)]
    [TestCase(8, 70)]
    [TestCase(4, 130)]
    public void ForwardNeverSeesTheFuture(int headDim, int valueHeadDim) =>
        NeverSeesTheFuture(KernelEngine.Attention.ForwardOperation, new AttentionProblem(1, 2, 1, 3, 6, headDim, valueHeadDim, true));

    [TestCase(8, 8)]
    [TestCase(8, 70)]
    [TestCase(4, 130)]
    public void DecodeNeverSeesTheFuture(int headDim, int valueHeadDim) =>
        NeverSeesTheFuture(KernelEngine.Attention.DecodeOperation, new AttentionProblem(1, 2, 1, 3, 6, headDim, valueHeadDim, true));

    [TestCase("q=1 k=700 d=4")]
    [TestCase("h=3 kv=1 q=1 k=520 d=4 dv=68")]
    [TestCase("h=2 kv=1 q=3 k=513 d=4 causal")]
    [TestCase("h=3 kv=1 q=3 k=300 d=4 dv=132 causal bf16")]
    public void DecodeMergesSplits(string text)
    {
        var problem = ProblemText.Parse<AttentionProblem>(text);
        var device = (GpuDevice)Device;
        Assert.That(AttentionSplitKv.Plan.Create(problem, device).NumSplits, Is.GreaterThan(1), "the case splits");
        Kernel<AttentionProblem> kernel = KernelEngine.Attention.DecodeOperation.Select(device.Kind, problem);
        VerificationResult result = Verifier.Verify(KernelEngine.Attention.DecodeOperation, kernel, device, problem);
        Assert.That(result.IsCorrect, result.ToString());
    }

    // Row i sees one key more than row i − 1. With NaN in every key that row i does not see, rows up to i must not change.
    private void NeverSeesTheFuture(Operation<AttentionProblem> operation, in AttentionProblem problem)
    {
        float[] clean = Run(operation, problem, poisonFrom: problem.KvLength);
        int rowSize = problem.NumHeads * problem.ValueHeadDim;
        for (int row = 0; row < problem.QueryLength - 1; row++)
        {
            float[] poisoned = Run(operation, problem, poisonFrom: problem.VisibleKeys(row));
            Assert.That(poisoned[..((row + 1) * rowSize)], Is.EqualTo(clean[..((row + 1) * rowSize)]), $"rows 0 to {row}");
            Assert.That(poisoned[((row + 1) * rowSize)..], Is.All.NaN, "rows that see a NaN");
        }
    }

    private float[] Run(Operation<AttentionProblem> operation, in AttentionProblem problem, int poisonFrom)
    {
        using Tensor query = RandomTensors.Create(Device, problem.GetOperand(AttentionProblem.Query), 1);
        using Tensor key = Poisoned(problem.GetOperand(AttentionProblem.Key), 2, poisonFrom);
        using Tensor value = Poisoned(problem.GetOperand(AttentionProblem.Value), 3, poisonFrom);
        using Tensor output = RandomTensors.Create(Device, problem.GetOperand(AttentionProblem.Output), 4, canary: 0x7F);
        Device.Run(operation, problem, [query, key, value, output, default]);
        return output.ToArray<float>();
    }

    private Tensor Poisoned(in Operand operand, int seed, int poisonFrom)
    {
        Tensor tensor = RandomTensors.Create(Device, operand, seed);
        float[] values = tensor.ToArray<float>();
        Array.Fill(values, float.NaN, (int)(poisonFrom * operand.Shape.Stride(1)), (int)((operand.Shape[1] - poisonFrom) * operand.Shape.Stride(1)));
        tensor.CopyFrom<float>(values);
        return tensor;
    }
}
