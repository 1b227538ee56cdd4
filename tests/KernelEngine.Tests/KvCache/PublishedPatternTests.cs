using KernelEngine.Models.Heads;
using Cache = KernelEngine.KvCache;

namespace KernelEngine.Tests.KvCache;

/// <summary>
/// The memory that DuoAttention's published head patterns save, on caches with the layers and heads of those models: measured pages
/// against the papers' arithmetic. Head dimensions are small; the ratio does not depend on them.
/// </summary>
public sealed class PublishedPatternTests
{
    private const int Length = 8192, ChunkSize = 1024, Sinks = 64, Recent = 256, HeadDim = 2;

    [TestCase("Llama-2-7B-32K-Instruct", 0.25)]
    [TestCase("Meta-Llama-3.1-8B-Instruct", 0.5)]
    public void HeadsOfPublishedPatternsSaveWhatTheArithmeticSays(string model, double fraction)
    {
        HeadScores gates = HeadScores.Load(TestData.PathOf($"head-patterns/duo-attention/{model}.full_attention_heads.tsv"));
        HeadSelection full = gates.SelectFullHeads(fraction);
        Assert.That(full.Fraction, Is.EqualTo(fraction).Within(0.01));
        Device device = TestDevices.Get("cpu");
        KvLayerShape[] shapes = [.. Enumerable.Repeat(new KvLayerShape(gates.NumHeads, HeadDim, HeadDim), gates.NumLayers)];
        using var whole = new Cache(device, shapes, new KvCacheOptions { Type = DataType.BFloat16 });
        using var divided = new Cache(device, shapes, new KvCacheOptions { Type = DataType.BFloat16 });
        for (int l = 0; l < gates.NumLayers; l++)
        {
            for (int h = 0; h < gates.NumHeads; h++)
            {
                if (!full.IsFull(l, h))
                    divided.Layers[l].SetRing(h, Sinks, Recent);
            }
        }
        using Tensor rows = Tensor.Allocate(device, DataType.BFloat16, 1, ChunkSize, gates.NumHeads, HeadDim);
        for (int position = 0; position < Length; position += ChunkSize)
        {
            foreach (KvLayer layer in whole.Layers.Concat(divided.Layers))
            {
                layer.Append(default, rows, rows, position);
                layer.Settle();
            }
        }
        whole.Trim();
        divided.Trim();
        double measured = (double)divided.Bytes.PayloadReserved / whole.Bytes.PayloadReserved;
        double share = full.Fraction + (1 - full.Fraction) * (Sinks + Recent) / Length;
        Assert.That(measured, Is.EqualTo(share).Within(1e-9), "whole pages of 32 slots");
    }

    // The paper's 2.45 at 100,000 tokens of Llama-2-7B, a quarter of the heads full: 12.6 GiB of weights, 0.5 MiB a token.
    [Test]
    public void WithTheWeightsItIsThePapersFigure()
    {
        const double Weights = 12.6, AllTokens = 0.5 * 100_000 / 1024, Kept = 0.25 + 0.75 * (Sinks + Recent) / 100_000;
        Assert.That((Weights + AllTokens) / (Weights + AllTokens * Kept), Is.EqualTo(2.45).Within(0.02));
    }
}
