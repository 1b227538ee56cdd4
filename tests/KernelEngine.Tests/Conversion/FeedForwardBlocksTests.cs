using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Conversion;

public sealed class FeedForwardBlocksTests
{
    private const string ModelName = "tinystories-656K/model.f32.safetensors";
    private const int Blocks = 4, ActiveBlocks = 2;

    [TestCase(UnitGrouping.Contiguous)]
    [TestCase(UnitGrouping.CoActivation)]
    public void AllBlocksTogetherAreTheDenseModel(UnitGrouping grouping)
    {
        Device device = ModelFixture.GetDevice("cpu");
        int[] text = HeadIdentificationTests.ReadIds(ModelName);
        using ModelFile file = ModelFile.Open(TestData.PathOf(ModelName));
        using var dense = ModelWeights.Load(device, file.Description, file.Weights);
        float[] expected = HuggingFaceCheckpointTests.Logits(file.Description, dense, text);
        RoutedModel routed = FeedForwardBlocks.Convert(device, file.Description, file.Weights, text, Blocks, ActiveBlocks, grouping);
        using var folder = new TemporaryFolder();
        HuggingFaceCheckpoint.Write(folder.Path, routed.Description, routed.Weights);
        using ModelFile written = ModelFile.Open(folder.Path);
        Assert.That(written.Description.Layers, Is.EqualTo(routed.Description.Layers));
        using var weights = ModelWeights.Load(device, written.Description, written.Weights);
        Assert.That(HuggingFaceCheckpointTests.Logits(written.Description, weights, text), Is.EqualTo(expected).Within(1e-4), "not routed");
        Assert.That(Logits(Blocks), Is.EqualTo(expected).Within(1e-4), "all blocks");
        Assert.That(Logits(ActiveBlocks), Is.Not.EqualTo(expected).Within(1e-2), "some blocks");

        float[] Logits(int activeBlocks)
        {
            using var runner = new ModelRunner(written.Description, weights, new RunnerOptions { ActiveFeedForwardBlocks = activeBlocks });
            var logits = new float[expected.Length];
            runner.Prefill(text, logits);
            return logits;
        }
    }

    [Test]
    public void TheRouterFindsMoreThanItsShareAndNoMoreThanTheBest()
    {
        Device device = ModelFixture.GetDevice("cpu");
        using ModelFile file = ModelFile.Open(TestData.PathOf(ModelName));
        RoutedModel routed = FeedForwardBlocks.Convert(
            device, file.Description, file.Weights, HeadIdentificationTests.ReadIds(ModelName), Blocks, ActiveBlocks);
        for (int layer = 0; layer < routed.RouterShare.Count; layer++)
        {
            Assert.That(routed.BestShare[layer], Is.GreaterThan((double)ActiveBlocks / Blocks).And.LessThanOrEqualTo(1));
            Assert.That(routed.RouterShare[layer], Is.GreaterThan((double)ActiveBlocks / Blocks).And.LessThanOrEqualTo(routed.BestShare[layer]));
        }
    }

    // Units that belong together lie apart; each group is active for its own tokens and all are a little active for all.
    [Test]
    public void UnitsThatAreActiveTogetherComeTogether()
    {
        const int Groups = 5, Units = 60, Tokens = 200;
        var random = new Random(1);
        int[] groupOf = [.. Enumerable.Range(0, Units).Select(unit => unit % Groups)];
        random.Shuffle(groupOf);
        var activity = new float[Tokens * Units];
        for (int token = 0; token < Tokens; token++)
        {
            int active = random.Next(Groups);
            for (int unit = 0; unit < Units; unit++)
                activity[token * Units + unit] = (unit % 3 + 1) * (groupOf[unit] == active ? 1 + random.NextSingle() : 0.1f * random.NextSingle());
        }
        int[][] found = UnitClusters.Find(activity, Units, Groups);
        Assert.That(found.Select(group => group.Length), Is.All.EqualTo(Units / Groups));
        foreach (int[] group in found)
            Assert.That(group.Select(unit => groupOf[unit]).Distinct().Count(), Is.EqualTo(1));
    }

    [Test]
    public void RidgeRegressionFindsTheMapThatMadeTheTargets()
    {
        const int Rows = 50, Columns = 6, Outputs = 3;
        var random = new Random(2);
        float[] inputs = [.. Enumerable.Range(0, Rows * Columns).Select(_ => random.NextSingle() - 0.3f)];
        float[] weight = [.. Enumerable.Range(0, Outputs * Columns).Select(_ => random.NextSingle() - 0.5f)], bias = [0.5f, -2f, 3f];
        var targets = new float[Rows * Outputs];
        for (int i = 0; i < targets.Length; i++)
        {
            targets[i] = bias[i % Outputs];
            for (int c = 0; c < Columns; c++)
                targets[i] += weight[i % Outputs * Columns + c] * inputs[i / Outputs * Columns + c];
        }
        (float[] found, float[] foundBias) = RidgeRegression.Solve(inputs, targets, Columns, Outputs, 1e-9);
        Assert.That(found, Is.EqualTo(weight).Within(1e-4));
        Assert.That(foundBias, Is.EqualTo(bias).Within(1e-4));
        (found, _) = RidgeRegression.Solve(inputs, targets, Columns, Outputs, 1e9);
        Assert.That(found, Is.All.EqualTo(0).Within(1e-6), "a penalty without end leaves the mean");
    }

    [Test]
    public void WhatDoesNotFitIsRefused()
    {
        Device device = ModelFixture.GetDevice("cpu");
        using ModelFile file = ModelFile.Open(TestData.PathOf(ModelName));
        Assert.That(() => FeedForwardBlocks.Convert(device, file.Description, file.Weights, [1, 2], 7, 2), Throws.ArgumentException);
        Assert.That(() => FeedForwardBlocks.Convert(device, file.Description, file.Weights, [1, 2], 4, 4), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => FeedForwardBlocks.Convert(device, file.Description, file.Weights, [], 4, 2), Throws.ArgumentException);
        using var weights = ModelWeights.Load(device, file.Description, file.Weights);
        Assert.That(
            () => new ModelRunner(file.Description, weights, new RunnerOptions { ActiveFeedForwardBlocks = 1 }),
            Throws.ArgumentException.With.Message.Contains("router"));
    }
}
