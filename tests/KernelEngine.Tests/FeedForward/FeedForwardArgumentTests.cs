namespace KernelEngine.Tests.FeedForward;

/// <summary>What is refused, and what does not depend on the threads.</summary>
public sealed class FeedForwardArgumentTests
{
    [TestCase("t=4 d=8 f=10 g=4 active=2", "innerSize must be a multiple of blocks=4 but is 10.")]
    [TestCase("t=4 d=8 f=12 g=4 active=5", "activeBlocks must be 1 to blocks=4 but is 5.")]
    [TestCase("t=4 d=8 f=12 g=4 active=0", "activeBlocks must be 1 to blocks=4 but is 0.")]
    [TestCase("t=4 d=8 f=0 g=0", "blocks must be 1 to 1024 but is 0.")]
    [TestCase("t=4 d=8 f=12 act=swiglu upbias", "SwiGLU's units have no bias.")]
    [TestCase("t=4 d=8 f=12 act=tanh", "'act' must be relu, gelu or swiglu but is 'tanh'.")]
    public void AProblemThatMakesNoSenseIsRefused(string text, string message) =>
        Assert.That(() => ProblemText.Parse<FeedForwardProblem>(text), Throws.TypeOf<FormatException>().With.Message.EqualTo(message));

    [TestCase(new[] { 0, 1, 2, 1 }, "[1, 1] is 1")]
    [TestCase(new[] { 0, 1, 2, 2 }, "[1, 1] is 2")]
    [TestCase(new[] { 0, 3, 0, 1 }, "[0, 1] is 3")]
    [TestCase(new[] { -1, 1, 0, 1 }, "[0, 0] is -1")]
    public void SelectedBlocksMustExistAndAscend(int[] blocks, string where)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor hidden = Tensor.Allocate(device, DataType.Float32, 2, 4), up = Tensor.Allocate(device, DataType.Float32, 6, 4);
        using Tensor down = Tensor.Allocate(device, DataType.Float32, 4, 6), output = Tensor.Allocate(device, DataType.Float32, 2, 4);
        using Tensor selected = Tensor.From<int>(device, blocks, 2, 2);
        Assert.That(
            () => KernelEngine.FeedForward.Forward(hidden, new FeedForwardWeights { Up = up, Down = down }, output, routing: new FeedForwardRouting(3, selected)),
            Throws.ArgumentException.With.Message.Contains(where));
    }

    [Test]
    public void TiesGoToTheLowerBlockAndNaNIsLast([Values("reference", "cpu")] string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor hidden = Tensor.From<float>(device, [1, 0, 0, 1, float.NaN, 0], 3, 2), weight = Tensor.From<float>(device, [1, 5, 2, 5, 2, 3, 1, 5], 4, 2);
        using Tensor selected = Tensor.Allocate(device, DataType.Int32, 3, 2), gates = Tensor.Allocate(device, DataType.Float32, 3, 4);
        using Tensor counts = Tensor.Allocate(device, DataType.Int32, 4);
        KernelEngine.FeedForward.Route(hidden, weight, selected, gates, counts);
        // Logits 1 2 2 1, then 5 5 3 5, then no number.
        Assert.That(selected.ToArray<int>(), Is.EqualTo(new[] { 1, 2, 0, 1, 0, 1 }));
        Assert.That(counts.ToArray<int>(), Is.EqualTo(new[] { 2, 3, 1, 0 }));
    }

    [Test]
    public void AnyNumberOfThreadsGivesTheSameBits([Values("act=swiglu gating=post", "act=relu bf16", "upbias downbias units")] string options)
    {
        var problem = ProblemText.Parse<FeedForwardBackwardProblem>("t=300 d=70 f=150 g=3 active=2 " + options);
        float[][] one = Run(1), two = Run(2), three = Run(3);
        Assert.That(two, Is.EqualTo(one));
        Assert.That(three, Is.EqualTo(one));

        float[][] Run(int threads)
        {
            using Device device = DeviceList.Open("cpu", threads);
            var tensors = new Tensor?[problem.OperandCount];
            for (int i = 0; i < tensors.Length; i++)
                tensors[i] = problem.GetOperand(i) is { Role: not OperandRole.Absent } operand ? RandomTensors.Create(device, operand, i) : null;
            device.Run(KernelEngine.FeedForward.BackwardOperation, problem, [.. tensors.Select(t => t is null ? default : (TensorView)t)]);
            float[][] results = [.. tensors.OfType<Tensor>().Select(t => Array.ConvertAll(RandomTensors.Read(t), x => (float)x))];
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
            return results;
        }
    }
}
