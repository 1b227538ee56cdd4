using KernelEngine.Models.Formats;

namespace KernelEngine.Tests.SparseAttention;

/// <summary>How many of the keys with the highest scores codes find, on queries and keys of real models.</summary>
public sealed class SparseRecallTests
{
    // One key in eight, as published; sub-vectors of eight are one or two for these heads, so smaller ones are measured too.
    [TestCase("tinyllamas-stories260K", 5, 8)]
    [TestCase("tinyllamas-stories260K", 5, 2)]
    [TestCase("tinyllamas-stories260K", 5, 1)]
    [TestCase("tinystories-656K", 2, 8)]
    [TestCase("tinystories-656K", 2, 2)]
    [TestCase("tinystories-656K", 2, 1)]
    public void CodesFindMoreThanChance(string model, int layers, int subVectorSize)
    {
        using SafetensorsReader file = SafetensorsReader.Open(TestData.PathOf($"{model}/reference_attention.safetensors"));
        var all = new Sums();
        for (int layer = 0; layer < layers; layer++)
            Add(file[$"layers.{layer}.q"], file[$"layers.{layer}.k"], subVectorSize, all);
        TestContext.Out.WriteLine(
            $"{model}, sub-vectors of {subVectorSize}: of the keys with the highest scores {all.Found / all.Rows:0.000} are found (chance {all.Chance / all.Rows:0.000}), "
            + $"attention on the chosen keys {all.Mass / all.Rows:0.000} (on the best {all.BestMass / all.Rows:0.000}, on the last {all.LastMass / all.Rows:0.000})");
        Assert.That(all.Found, Is.GreaterThan(all.Chance));
    }

    private static void Add(StoredTensor query, StoredTensor key, int subVectorSize, Sums sums)
    {
        int tokens = (int)query.Shape[0], heads = (int)query.Shape[1], headDim = (int)query.Shape[2], kvHeads = (int)key.Shape[1], capacity = tokens / 8;
        float[] q = query.ReadSingles(), k = key.ReadSingles();
        int[] lists = Select(q, k, tokens, heads, kvHeads, headDim, subVectorSize, capacity);
        for (int h = 0; h < heads; h++)
        {
            // Rows that see no more than they keep keep all.
            for (int i = capacity; i < tokens; i++)
            {
                double[] scores = [.. Enumerable.Range(0, i + 1).Select(j =>
                    Enumerable.Range(0, headDim).Sum(c => (double)q[(i * heads + h) * headDim + c] * k[(j * kvHeads + h / (heads / kvHeads)) * headDim + c])
                    / Math.Sqrt(headDim))];
                int[] best = [.. Enumerable.Range(0, i + 1).OrderByDescending(j => scores[j]).ThenByDescending(j => j).Take(capacity)];
                int[] chosen = lists[((h * tokens + i) * capacity)..((h * tokens + i + 1) * capacity)];
                double most = scores.Max(), total = scores.Sum(s => Math.Exp(s - most));
                sums.Rows++;
                sums.Found += best.Intersect(chosen).Count() / (double)capacity;
                sums.Chance += capacity / (i + 1.0);
                sums.Mass += chosen.Sum(j => Math.Exp(scores[j] - most)) / total;
                sums.BestMass += best.Sum(j => Math.Exp(scores[j] - most)) / total;
                sums.LastMass += scores[(i + 1 - capacity)..].Sum(s => Math.Exp(s - most)) / total;
            }
        }
    }

    private static int[] Select(float[] q, float[] k, int tokens, int heads, int kvHeads, int headDim, int subVectorSize, int capacity)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor query = Tensor.From<float>(device, q, 1, tokens, heads, headDim), key = Tensor.From<float>(device, k, 1, tokens, kvHeads, headDim);
        using Tensor codebook = KernelEngine.SparseAttention.InitializeCodebook(subVectorSize, 1, query, key);
        int subVectors = (int)codebook.View[0], words = (subVectors + 7) / 8;
        using Tensor queryCodes = Tensor.Allocate(device, DataType.Int32, 1, heads, tokens, words);
        using Tensor keyCodes = Tensor.Allocate(device, DataType.Int32, 1, kvHeads, tokens, words);
        using Tensor columns = Tensor.Allocate(device, DataType.Int32, 1, heads, tokens, capacity), counts = Tensor.Allocate(device, DataType.Int32, 1, heads, tokens);
        KernelEngine.SparseAttention.Encode(query, codebook, queryCodes);
        KernelEngine.SparseAttention.Encode(key, codebook, keyCodes);
        KernelEngine.SparseAttention.Select(queryCodes, keyCodes, columns, counts, subVectors, SparseSelectOptions.Causal);
        return columns.ToArray<int>();
    }

    private sealed class Sums
    {
        public double Rows, Found, Chance, Mass, BestMass, LastMass;
    }
}
