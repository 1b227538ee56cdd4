using KernelEngine.Models;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Heads;

/// <summary>DuoAttention's gates: where they must end on a model of known heads, and their gradients on a real one.</summary>
public sealed class GateTrainingTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin";

    // On the answer's 64 elements the induction head gives the unit code of what followed; a streaming head finds no match and gives the
    // mean of the values that follow a BOS token among its sinks: of two sinks the code of "not found", at a squared distance of 2, of four
    // also that of the first filler, 1 + 5/9. With one gate α of eight the loss is (1 − α)² · distance / 64 + λ α / 8, least at
    // α = 1 − 32 λ / (8 · distance): 0.9 and 0.871. The other heads give the same in either form, or where nothing is compared: 0.
    [Test]
    public void TheDearerAHeadIsTheFurtherItsGateCloses()
    {
        const double Distance = 14.0 / 9;
        HeadScores gates = Train(sinks: 4);
        foreach ((int layer, int head) in HeadScoresTests.Heads(gates))
        {
            double expected = (layer, head) == (1, 0) ? 1 - 32 * 0.05 / (8 * Distance) : 0;
            Assert.That(gates[layer, head], Is.EqualTo(expected).Within(0.005), $"layer {layer}, head {head}");
        }
    }

    // The slope at any α, by the same arithmetic: λ / 8 for every head, and −2 (1 − α) · distance / 64 more for the induction head.
    [TestCase(1)]
    [TestCase(0.9)]
    [TestCase(0.25)]
    public void TheSlopeIsTheClosedForm(double gate)
    {
        const double Price = 0.05 / 8;
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        var training = new GateTraining(model.Description, weights, Options);
        training.Gates[1, 0] = gate;
        (double loss, HeadScores slope) = training.Differentiate(Text(64, 0.3, 5));
        Assert.That(loss, Is.EqualTo((1 - gate) * (1 - gate) * 2 / 64 + Price * (7 + gate)).Within(1e-6));
        foreach ((int layer, int head) in HeadScoresTests.Heads(slope))
        {
            double expected = (layer, head) == (1, 0) ? Price - 4 * (1 - gate) / 64 : Price;
            Assert.That(slope[layer, head], Is.EqualTo(expected).Within(1e-6), $"layer {layer}, head {head}");
        }
    }

    // Norms, feed-forward networks, rotary positions, groups: the slope of each gate against the difference of two losses.
    [Test]
    public void SlopesOfARealModelAreThoseOfTheLoss()
    {
        const double Step = 0.02;
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        var text = new TailText(HeadIdentificationTests.ReadIds(Stories).AsMemory(0, 48), 24);
        var options = new GateTrainingOptions { SinkCount = 2, RecentCount = 4, Price = 0 };
        var training = new GateTraining(model.Description, model.Weights, options);
        var random = new Random(3);
        foreach ((int layer, int head) in HeadScoresTests.Heads(training.Gates))
            training.Gates[layer, head] = 0.2 + 0.6 * random.NextDouble();
        HeadScores slope = training.Differentiate(text).Gradient;
        double most = HeadScoresTests.Heads(slope).Max(h => Math.Abs(slope[h.Layer, h.Head]));
        foreach ((int layer, int head) in HeadScoresTests.Heads(slope))
        {
            double gate = training.Gates[layer, head];
            training.Gates[layer, head] = gate + Step;
            double above = training.Differentiate(text).Loss;
            training.Gates[layer, head] = gate - Step;
            double below = training.Differentiate(text).Loss;
            training.Gates[layer, head] = gate;
            Assert.That(slope[layer, head], Is.EqualTo((above - below) / (2 * Step)).Within(2e-3 * most), $"layer {layer}, head {head}");
        }
    }

    [Test]
    public void TextsWithoutTailAndOptionsOutOfRangeAreRefused()
    {
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        var training = new GateTraining(model.Description, weights);
        Assert.That(() => training.Step(new TailText(new[] { 0, 0 }, 2)), Throws.ArgumentException.With.Message.Contains("tail"));
        Assert.That(() => training.Step(new TailText(new[] { 0, 0 }, 0)), Throws.ArgumentException.With.Message.Contains("tail"));
        Assert.That(
            () => new GateTraining(model.Description, weights, new GateTrainingOptions { RecentCount = 0 }),
            Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    internal static HeadScores Train(int sinks)
    {
        var model = new InductionModel();
        using ModelWeights weights = ModelWeights.Load(ModelFixture.GetDevice("cpu"), model.Description, model);
        return new GateTraining(model.Description, weights, Options with { SinkCount = sinks, Steps = 200 })
            .Run(step => Text(64, 0.1 + 0.6 * (step % 10) / 10, (ulong)step));
    }

    private static GateTrainingOptions Options { get; } =
        new() { SinkCount = 2, RecentCount = 8, Elements = InductionModel.AnswerElements };

    // The needle in its text, and at the end the question with the answer: every token of that needs the induction head.
    private static TailText Text(int length, double depth, ulong seed)
    {
        var task = new NeedleTask(length, depth, seed);
        return new TailText((int[])[.. task.Context, task.Question, .. task.Answer], task.Context.Length);
    }
}
