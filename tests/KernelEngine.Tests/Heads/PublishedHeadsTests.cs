using System.Text;
using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Heads;

/// <summary>Tables that papers published, against what is known of them.</summary>
public sealed class PublishedHeadsTests
{
    [TestCase("Llama-2-7B-32K-Instruct", 32, 32, 0.42)]
    [TestCase("Llama-3-8B-Instruct-Gradient-1048k", 32, 8, 0.77)]
    [TestCase("Llama-3-8B-Instruct-Gradient-4194k", 32, 8, 0.77)]
    [TestCase("Meta-Llama-3.1-8B-Instruct", 32, 8, 0.85)]
    [TestCase("Mistral-7B-Instruct-v0.2", 32, 8, 0.92)]
    [TestCase("Mistral-7B-Instruct-v0.3", 32, 8, 0.90)]
    public void LearnedGates(string model, int layers, int heads, double mean)
    {
        HeadScores scores = Load($"duo-attention/{model}.full_attention_heads.tsv");
        Assert.That((scores.NumLayers, scores.NumHeads), Is.EqualTo((layers, heads)));
        Assert.That(Values(scores).Average(), Is.EqualTo(mean).Within(0.006));
        Assert.That(scores.SelectFullHeads(0.5).Fraction, Is.EqualTo(0.5).Within(1.0 / (layers * heads)));
    }

    [TestCase("retrieval-head/llama-2-7b-80k.mean_score.tsv", 1024, 33)]
    [TestCase("retrieval-head/Mistral-7B-v0.2-hf.mean_score.tsv", 1024, 43)]
    [TestCase("retrieval-head/Yi-6B-200K.mean_score.tsv", 1024, 53)]
    [TestCase("retrieval-head/llama-2-13b-64k.mean_score.tsv", 1600, 33)]
    public void RetrievalHeadsAreFew(string file, int heads, int retrievalHeads)
    {
        double[] scores = Values(Load(file));
        Assert.That(scores, Has.Length.EqualTo(heads));
        Assert.That(scores.Count(score => score >= 0.1), Is.EqualTo(retrievalHeads));
    }

    [Test]
    public void TheBestRetrievalHeadsAreThePublishedOnes()
    {
        HeadScores scores = Load("retrieval-head/llama-2-7b-80k.mean_score.tsv");
        (int, int)[] best = [.. HeadScoresTests.Heads(scores).OrderByDescending(h => scores[h.Layer, h.Head]).Take(5)];
        Assert.That(best, Is.EqualTo(new[] { (16, 19), (11, 15), (8, 26), (6, 9), (7, 12) }));
        HeadSelection full = scores.SelectBest(5);
        Assert.That(best.All(h => full.IsFull(h.Item1, h.Item2)), Is.True);
    }

    [TestCase("headkv/Meta-Llama-3-8B-Instruct_retrieval_heads.mean_score.tsv", 32, 32)]
    [TestCase("headkv/Mistral-7B-Instruct-v0.2_retrieval_reasoning_heads.mean_score.tsv", 32, 32)]
    [TestCase("kvzip/llama3.1-8b.scbench_qa_eng.head_score.tsv", 32, 8)]
    [TestCase("kvzip/qwen2.5-14b.scbench_qa_eng.head_score.tsv", 48, 8)]
    [TestCase("kvzip/qwen2.5-7b.scbench_repoqa.head_score.tsv", 28, 4)]
    public void OtherTablesHaveTheirModelsShape(string file, int layers, int heads)
    {
        HeadScores scores = Load(file);
        Assert.That((scores.NumLayers, scores.NumHeads), Is.EqualTo((layers, heads)));
    }

    [TestCase("lmsys--vicuna-7b-v1.5-16k", 32, 0, 0.125, 279)]
    [TestCase("lmsys--vicuna-7b-v1.5-16k", 32, 0, 0.625, 183)]
    [TestCase("lmsys--vicuna-7b-v1.5-16k", 32, 0, 0.75, 171)]
    [TestCase("gradientai--Llama-3-8B-Instruct-262k", 32, -1024, 1, 375)]
    [TestCase("gradientai--Llama-3-8B-Instruct-262k", 32, 1024, 0, 243)]
    public void SpansHaveTheirPublishedRules(string model, int numHeads, double alpha, double beta, int count)
    {
        MoaRules rules = MoaRules.Load(TestData.PathOf($"head-patterns/moa/{model}.moa_alpha_beta.json"));
        Assert.That(rules.Alphas.NumHeads, Is.EqualTo(numHeads));
        var heads = HeadScoresTests.Heads(rules.Alphas)
            .Where(h => rules.Alphas[h.Layer, h.Head] == alpha && rules.Betas[h.Layer, h.Head] == beta);
        Assert.That(heads.Count(), Is.EqualTo(count));
        (int layer, int head) = heads.First();
        Assert.That(rules.Span(layer, head, 8192), Is.EqualTo(alpha + beta * 8192));
        HeadScores spans = rules.KvSpans(8, 8192);
        double longest = Enumerable.Range(head / 4 * 4, 4).Max(h => rules.Alphas[layer, h] + rules.Betas[layer, h] * 8192);
        Assert.That(spans[layer, head / 4], Is.EqualTo(longest));
    }

    [TestCase("{\"alphas\": [[1]], \"betas\": [[1, 2]]}", "betas must have shape [1, 1] as alphas but has [1, 2]")]
    [TestCase("{\"alphas\": [[1]]}", "betas must be an array")]
    [TestCase("{\"alphas\": [[1, 2], [1]], \"betas\": [[1]]}", "alphas[1] must be an array of 2 numbers")]
    [TestCase("{\"alphas\": [[\"1\"]], \"betas\": [[1]]}", "alphas[0] must hold finite numbers")]
    [TestCase("{\"alphas\": [[]], \"betas\": [[]]}", "alphas must hold 1 to")]
    public void MalformedRulesAreRefused(string content, string rule)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("rules.json", Encoding.UTF8.GetBytes(content));
        Assert.That(() => MoaRules.Load(path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(rule));
    }

    private static HeadScores Load(string file) => HeadScores.Load(TestData.PathOf("head-patterns/" + file));

    private static double[] Values(HeadScores scores) => [.. HeadScoresTests.Heads(scores).Select(h => scores[h.Layer, h.Head])];
}
