using System.Text.Json;
using KernelEngine.Models;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.KvCache;

/// <summary>
/// Real models whose heads forget: an independent float64 program computed what each policy costs. Choosing the wrong heads costs 4
/// to 70 times as much as the right ones, so mixed-up layers, heads or groups show.
/// </summary>
public sealed class GoldenEvictionTests
{
    private const int SinkCount = 4, RecentCount = 32;

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.ModelsOnFastDevices))]
    public void HeadWisePoliciesCostWhatTheReferenceSays(string device, string modelFile)
    {
        using JsonDocument expected = JsonDocument.Parse(File.ReadAllText(ModelFixture.ReferenceFile(modelFile, "expected_eviction.json")));
        JsonElement root = expected.RootElement, results = root.GetProperty("results");
        int[] ids = [.. root.GetProperty("ids").EnumerateArray().Select(id => id.GetInt32())];
        var isFull = root.GetProperty("kv_heads_kept_full_in_half").EnumerateArray()
            .Select(pair => (Layer: pair[0].GetInt32(), Head: pair[1].GetInt32())).ToHashSet();
        using LoadedModel model = ModelFixture.Load(device, modelFile);
        using ModelRunner whole = model.CreateRunner();
        float[] full = Decode(whole, ids);
        Compare(results.GetProperty("full_cache"), Decode(model, ids, new FullCache(), out double kept), kept);
        Compare(results.GetProperty("all_heads_sink4_recent32"), Decode(model, ids, new StreamingLlm(SinkCount + RecentCount, SinkCount), out kept), kept);
        var right = new DuoAttention((layer, head) => isFull.Contains((layer, head)), SinkCount, RecentCount);
        Compare(results.GetProperty("half_heads_full_lowest_mass"), Decode(model, ids, right, out kept), kept);
        var wrong = new DuoAttention((layer, head) => !isFull.Contains((layer, head)), SinkCount, RecentCount);
        Compare(results.GetProperty("half_heads_full_highest_mass"), Decode(model, ids, wrong, out kept), kept);

        void Compare(JsonElement result, float[] logits, double keptFraction)
        {
            (double nll, double divergence, double agreement) = Measure(logits, full, ids, model.Description.VocabSize);
            double expectedDivergence = result.GetProperty("kl_from_full_mean").GetDouble();
            Assert.That(nll, Is.EqualTo(result.GetProperty("mean_nll").GetDouble()).Within(1e-3));
            Assert.That(divergence, Is.EqualTo(expectedDivergence).Within(0.01 * expectedDivergence + 1e-6));
            Assert.That(agreement, Is.EqualTo(result.GetProperty("argmax_agreement").GetDouble()).Within(0.01));
            Assert.That(keptFraction, Is.EqualTo(result.GetProperty("kept_cache_fraction_at_end").GetDouble()).Within(1e-6));
        }
    }

    // The logits after each token but the last, the tokens given one by one: no token is seen by what would have lost it.
    private static float[] Decode(ModelRunner runner, int[] ids)
    {
        int size = runner.Description.VocabSize;
        var logits = new float[(ids.Length - 1) * size];
        for (int i = 0; i < ids.Length - 1; i++)
        {
            runner.Decode(ids[i]);
            runner.ReadLogits(logits.AsSpan(i * size, size));
        }
        return logits;
    }

    private static float[] Decode(LoadedModel model, int[] ids, KvPolicy policy, out double kept)
    {
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { Policy = policy, PageSize = 16 });
        float[] logits = Decode(runner, ids);
        KvCell[] cells = [.. runner.Session!.Cache.Layers.SelectMany(layer => layer.Cells)];
        kept = cells.Average(cell => (double)cell.Length) / runner.Position;
        return logits;
    }

    private static (double Nll, double Divergence, double Agreement) Measure(float[] logits, float[] full, int[] ids, int size)
    {
        double nll = 0, divergence = 0;
        int agreements = 0, count = ids.Length - 1;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<float> row = logits.AsSpan(i * size, size), fullRow = full.AsSpan(i * size, size);
            double lse = ModelFixture.LogSumExp(row), fullLse = ModelFixture.LogSumExp(fullRow);
            nll += lse - row[ids[i + 1]];
            for (int t = 0; t < size; t++)
                divergence += Math.Exp(fullRow[t] - fullLse) * (fullRow[t] - fullLse - (row[t] - lse));
            agreements += row.IndexOf(Max(row)) == fullRow.IndexOf(Max(fullRow)) ? 1 : 0;
        }
        return (nll / count, divergence / count, (double)agreements / count);
    }

    private static float Max(ReadOnlySpan<float> values)
    {
        float max = float.NegativeInfinity;
        foreach (float value in values)
            max = Math.Max(max, value);
        return max;
    }
}
