using KernelEngine.Models;
using KernelEngine.Models.Scoring;

namespace KernelEngine.Tests.Models;

/// <summary>Scores of texts: by their definition, window by window, however the text comes.</summary>
public sealed class TextScorerTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin", Wide = "tinystories-656K/model.f32.safetensors";

    private const string Story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. ";

    [TestCase(Stories)]
    [TestCase(Wide)]
    public void ATextOfOneWindowHasTheLossOfTheReference(string modelFile)
    {
        using LoadedModel model = ModelFixture.Load("cpu", modelFile);
        (int[] ids, double[] nll, double mean) = SequenceScorerTests.ReadExpected(modelFile);
        string text = model.Tokenizer.Decode(ids);
        Assert.That(model.Tokenizer.Encode(text), Is.EqualTo(ids));
        using var scorer = new TextScorer(model);
        for (int run = 0; run < 2; run++)
        {
            scorer.Append(text);
            TextScore score = scorer.Finish();
            Assert.That(score.Tokens, Is.EqualTo(nll.Length));
            Assert.That(score.Nats, Is.EqualTo(nll.Sum()).Within(0.005));
            Assert.That(score.NatsPerToken, Is.EqualTo(mean).Within(2e-5));
            Assert.That(score.Perplexity, Is.EqualTo(Math.Exp(mean)).Within(2e-4));
            Assert.That(score.Bytes, Is.EqualTo(text.Length)); // ASCII
            Assert.That(score.BitsPerByte, Is.EqualTo(nll.Sum() / Math.Log(2) / text.Length).Within(1e-5));
        }
    }

    [TestCase(16, 5)]
    [TestCase(16, 16)]
    [TestCase(16, 1)]
    [TestCase(16, 0)]
    [TestCase(15, 0)]
    public void WindowsGiveEachTokenTheContextOfTheDefinition(int positions, int stride)
    {
        using LoadedModel whole = ModelFixture.Load("cpu", Stories);
        using LoadedModel model = WithPositions(whole, positions);
        using var scorer = new TextScorer(model, stride);
        int step = stride > 0 ? stride : positions / 2;
        Assert.That(scorer.Stride, Is.EqualTo(step));
        int[] ids = model.Tokenizer.Encode(Story);
        // Texts that end before, at and after the ends of windows.
        foreach (int tokens in (int[])[2, 15, 16, 17, 18, 21, 22, 23, 24, 25, ids.Length])
        {
            string text = model.Tokenizer.Decode(ids.AsSpan(0, tokens));
            int[] sequence = model.Tokenizer.Encode(text);
            var windows = new Dictionary<int, float[]>();
            double nats = 0;
            for (int t = 1; t < sequence.Length; t++)
            {
                int begin = Math.Max(0, (t - positions + step - 1) / step) * step;
                if (!windows.TryGetValue(begin, out float[]? nll))
                {
                    int end = Math.Min(begin + positions + 1, sequence.Length);
                    windows.Add(begin, nll = SequenceScorerTests.FromLogits(model, sequence.AsSpan(begin..end)));
                }
                nats += nll[t - begin - 1];
            }
            scorer.Append(text);
            TextScore score = scorer.Finish();
            Assert.That(score.Tokens, Is.EqualTo(sequence.Length - 1));
            Assert.That(score.Nats, Is.EqualTo(nats).Within(1e-4 * sequence.Length), $"{sequence.Length} tokens");
        }
    }

    [Test]
    public void HowATextIsDividedChangesNothing([Values(Stories, Wide)] string modelFile)
    {
        using LoadedModel model = ModelFixture.Load("cpu", modelFile);
        string text = string.Concat(Enumerable.Range(0, 60).Select(i => $"{Story}😀 {i} naïve\n"));
        using var scorer = new TextScorer(model, 300);
        scorer.Append(text);
        TextScore expected = scorer.Finish();
        Assert.That(expected.Tokens, Is.EqualTo(model.Tokenizer.Encode(text).Length - 1).And.GreaterThan(1000));
        Assert.That(expected.Bytes, Is.EqualTo(System.Text.Encoding.UTF8.GetByteCount(text)));
        foreach (int length in (int[])[1, 2, 7, 1000])
        {
            for (int i = 0; i < text.Length; i += length)
                scorer.Append(text.AsSpan(i, Math.Min(length, text.Length - i)));
            Assert.That(scorer.Finish(), Is.EqualTo(expected), $"pieces of {length}"); // to the last bit
        }
    }

    [Test]
    public void TextsDoNotKnowOfOneAnother()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        using var scorer = new TextScorer(model);
        TextScore alone = Score("Lily had a cat.");
        Score(string.Concat(Enumerable.Repeat(Story, 30)));
        Assert.That(Score("Lily had a cat."), Is.EqualTo(alone));

        TextScore Score(string text)
        {
            scorer.Append(text);
            return scorer.Finish();
        }
    }

    [Test]
    public void AnEmptyTextHasNothingToScore()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        using var scorer = new TextScorer(model);
        scorer.Append("");
        TextScore score = scorer.Finish();
        Assert.That(score, Is.EqualTo(new TextScore(0, 0, 0)));
        Assert.That(score.NatsPerToken, Is.NaN);
        Assert.That(scorer.TokensRun, Is.Zero);
    }

    [Test]
    public void ScoresAddUp()
    {
        TextScore sum = new TextScore(10, 4, 8) + new TextScore(6, 4, 0.5);
        Assert.That(sum, Is.EqualTo(new TextScore(16, 8, 8.5)));
        Assert.That(sum.BitsPerByte, Is.EqualTo(8.5 / Math.Log(2) / 16).Within(1e-12));
    }

    [TestCase(-1)]
    [TestCase(513)]
    public void AStrideOutsideTheContextIsRefused(int stride)
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        Assert.That(
            () => new TextScorer(model, stride),
            Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("1 to the model's 512"));
    }

    // The same weights with fewer positions, so that short texts take several windows.
    private static LoadedModel WithPositions(LoadedModel model, int positions) =>
        new(model.Description with { MaxPosition = positions }, model.Weights, model.Tokenizer);
}
