namespace KernelEngine.Tests;

public sealed class ReadmeExampleTests
{
    [Test]
    public void TheExampleOfTheReadmeComputesAttention()
    {
        // README begin
        using Device device = DeviceList.Open("cpu");
        const int Tokens = 128, Heads = 8, KvHeads = 2, HeadDim = 64;
        using Tensor query = Tensor.Allocate(device, DataType.Float32, 1, Tokens, Heads, HeadDim);
        using Tensor key = Tensor.Allocate(device, DataType.BFloat16, 1, Tokens, KvHeads, HeadDim);
        using Tensor value = Tensor.Allocate(device, DataType.BFloat16, 1, Tokens, KvHeads, HeadDim);

        var output = new float[Tokens * Heads * HeadDim];
        using Tensor result = Tensor.Wrap<float>(device, output, 1, Tokens, Heads, HeadDim); // borrowed, not copied
        using Tensor lse = Tensor.Allocate(device, DataType.Float32, 1, Heads, Tokens);

        KernelEngine.Attention.Forward(query, key, value, result, AttentionOptions.Causal, lse);

        // All scores are zero here, so row i averages the i + 1 values that it sees.
        Console.WriteLine($"{lse.ToArray<float>()[^1]:0.0000} = ln {Tokens}");
        // README end
        Assert.That(lse.ToArray<float>()[^1], Is.EqualTo(Math.Log(Tokens)).Within(1e-6));
        Assert.That(output, Has.All.Zero);
    }
}
