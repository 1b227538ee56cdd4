using KernelEngine.Models.Heads;
using Cache = KernelEngine.KvCache;

namespace KernelEngine.Tests.KvCache;

/// <summary>
/// The memory that published head patterns save, on caches with the layers and heads of those models: measured pages against the papers'
/// arithmetic. Head dimensions are small; the ratio does not depend on them.
/// </summary>
public sealed class PublishedPatternTests
{
    private const int Length = 8192, ChunkSize = 1024, Sinks = 64, Recent = 256, HeadDim = 2;

    // DuoAttention; then RazorAttention, whose other heads keep the last fifth: a third of the memory, "over 70 %" saved in its words.
    [TestCase("Llama-2-7B-32K-Instruct", 0.25, Recent)]
    [TestCase("Meta-Llama-3.1-8B-Instruct", 0.5, Recent)]
    [TestCase("Llama-2-7B-32K-Instruct", 0.15, Length / 5)]
    public void HeadsOfPublishedPatternsSaveWhatTheArithmeticSays(string model, double fraction, int recent)
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
                    divided.Layers[l].SetRing(h, Sinks, recent);
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
        long pages = (Sinks + recent + (long)divided.Layers[0].PageSize - 1) / divided.Layers[0].PageSize;
        double share = full.Fraction + (1 - full.Fraction) * pages * divided.Layers[0].PageSize / Length;
        Assert.That(measured, Is.EqualTo(share).Within(1e-9), "whole pages of 32 slots");
    }

    // DuoAttention's figures are of all memory, weights included: 12.6 GiB and 0.5 MiB a token of Llama-2-7B, a quarter of the heads full;
    // 15.0 GiB and 0.125 MiB a token of Llama-3-8B, half of them full. They grow with the length, towards 4 and 2.
    [TestCase(12.6, 0.5, 0.25, 100_000, 2.45)]
    [TestCase(12.6, 0.5, 0.25, 110_000, 2.55)]
    [TestCase(15.0, 0.125, 0.5, 500_000, 1.67)]
    public void WithTheWeightsItIsThePapersFigure(double weights, double perToken, double fraction, int length, double figure)
    {
        double all = perToken * length / 1024, kept = fraction + (1 - fraction) * (Sinks + Recent) / length;
        Assert.That((weights + all) / (weights + all * kept), Is.EqualTo(figure).Within(0.02));
    }
}
