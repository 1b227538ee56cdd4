using System.Text;
using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Heads;

public sealed class HeadScoresTests
{
    private static readonly double[] Gates = [0.1, 0.9, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4];

    // By hand: of the sorted gates 0.1 0.2 0.3 0.4 0.5 0.7 0.8 0.9 the threshold is the one at rank (1 - fraction) * 7.
    [TestCase(0, "")]
    [TestCase(0.01, "0.9")]
    [TestCase(0.25, "0.8 0.9")] // 5.25: 0.7 + 0.25 * 0.1 = 0.725
    [TestCase(0.3, "0.7 0.8 0.9")] // 4.9: 0.5 + 0.9 * 0.2 = 0.68
    [TestCase(0.5, "0.5 0.7 0.8 0.9")] // 3.5: 0.45
    [TestCase(6.0 / 7, "0.2 0.3 0.4 0.5 0.7 0.8 0.9")] // 1: the gate itself, which is kept
    [TestCase(1, "0.1 0.2 0.3 0.4 0.5 0.7 0.8 0.9")]
    public void TheThresholdIsTheQuantile(double fraction, string expected)
    {
        HeadScores scores = Table(2, Gates);
        HeadSelection full = scores.SelectFullHeads(fraction);
        double[] kept = [.. Heads(scores).Where(h => full.IsFull(h.Layer, h.Head)).Select(h => scores[h.Layer, h.Head]).Order()];
        Assert.That(string.Join(' ', kept), Is.EqualTo(expected));
        Assert.That(full.Count, Is.EqualTo(kept.Length));
        Assert.That(full.Fraction, Is.EqualTo(kept.Length / 8.0));
    }

    [Test]
    public void HeadsAtOrAboveTheInterpolatedThresholdAreFull()
    {
        var random = new Random(5);
        double[] gates = [.. Enumerable.Range(0, 37 * 8).Select(_ => random.NextDouble())];
        HeadScores scores = Table(37, gates);
        double[] sorted = [.. gates.Order()];
        for (int percent = 1; percent < 100; percent++)
        {
            double rank = (100 - percent) * (gates.Length - 1) / 100.0, below = Math.Floor(rank);
            double next = sorted[Math.Min((int)below + 1, gates.Length - 1)];
            double threshold = sorted[(int)below] + (rank - below) * (next - sorted[(int)below]);
            HeadSelection full = scores.SelectFullHeads(percent / 100.0);
            foreach ((int layer, int head) in Heads(scores))
                Assert.That(full.IsFull(layer, head), Is.EqualTo(scores[layer, head] >= threshold), $"{percent} %, {layer}, {head}");
        }
    }

    [Test]
    public void OfEqualScoresTheEarlierHeadsAreFull()
    {
        HeadSelection full = Table(2, [1, 1, 0, 1, 1, 1, 1, 1]).SelectFullHeads(0.5);
        Assert.That(Enumerable.Range(0, 8).Where(i => full.IsFull(i / 4, i % 4)), Is.EqualTo(new[] { 0, 1, 3, 4 }));
    }

    [TestCase(-0.1)]
    [TestCase(1.1)]
    [TestCase(double.NaN)]
    public void AFractionIsFromNoneToAll(double fraction) =>
        Assert.That(() => Table(2, Gates).SelectFullHeads(fraction), Throws.TypeOf<ArgumentOutOfRangeException>());

    [Test]
    public void QueryHeadsAreJoinedOverTheirGroup()
    {
        HeadScores scores = Table(2, Gates);
        Assert.That(Row(scores.MaxOverGroups(2), 1), Is.EqualTo(new[] { 0.7, 0.8 }));
        Assert.That(Row(scores.MeanOverGroups(2), 1), Is.EqualTo(new[] { 0.45, 0.6 }).Within(1e-15));
        Assert.That(() => scores.MaxOverGroups(3), Throws.ArgumentException);
    }

    [Test]
    public void ASavedTableIsReadBackExactly()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "scores.tsv");
        HeadScores scores = Table(2, [1 / 3.0, -2.5e-300, 0, 1, 0.1, double.MaxValue, double.Epsilon, -0.7]);
        scores.Save(path);
        scores.Save(path); // the old file gives way
        HeadScores read = HeadScores.Load(path);
        Assert.That((read.NumLayers, read.NumHeads), Is.EqualTo((2, 4)));
        for (int layer = 0; layer < 2; layer++)
            Assert.That(Row(read, layer), Is.EqualTo(Row(scores, layer)));
        Assert.That(Directory.GetFiles(folder.Path), Has.Length.EqualTo(1));
    }

    [TestCase("", "Line 1 must hold finite numbers but holds ''")]
    [TestCase("1\t2\n3\n", "Line 2 must have 2 numbers")]
    [TestCase("1\t2\n\n3\t4\n", "Line 2 must have 2 numbers")]
    [TestCase("1\tNaN\n", "holds 'NaN'")]
    [TestCase("1\t1e999\n", "holds '1e999'")]
    [TestCase("1,5\t2\n", "holds '1,5'")]
    [TestCase("layer\tkv_head\tmass\n", "no head below")]
    [TestCase("layer\tkv_head\tmass\n0\t0\t1\n0\t2\t1\n", "1 layers of 3 heads but there are 2")]
    [TestCase("layer\tkv_head\tmass\n0\t1\t1\n0\t1\t1\n", "Line 2 must be layer 0, head 0")]
    [TestCase("layer\tkv_head\tmass\n0\t0\n", "three fields")]
    [TestCase("layer\tkv_head\tmass\n0\t-1\t1\n", "whole numbers")]
    [TestCase("layer\tkv_head\tmass\n2147483647\t2147483647\t1\n", "but there are 1 heads")]
    public void MalformedTablesAreRefused(string content, string rule)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("scores.tsv", Encoding.UTF8.GetBytes(content));
        Assert.That(
            () => HeadScores.Load(path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(rule).And.Message.Contains(path));
    }

    internal static HeadScores Table(int numLayers, double[] values)
    {
        var scores = new HeadScores(numLayers, values.Length / numLayers);
        for (int i = 0; i < values.Length; i++)
            scores[i / scores.NumHeads, i % scores.NumHeads] = values[i];
        return scores;
    }

    internal static IEnumerable<(int Layer, int Head)> Heads(HeadScores scores) =>
        from layer in Enumerable.Range(0, scores.NumLayers)
        from head in Enumerable.Range(0, scores.NumHeads)
        select (layer, head);

    private static double[] Row(HeadScores scores, int layer) =>
        [.. Enumerable.Range(0, scores.NumHeads).Select(head => scores[layer, head])];
}
