using KernelEngine.Models;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Conversion;

public sealed class HuggingFaceCheckpointTests
{
    // Moving rotary pairs changes the order of sums, nothing else.
    [TestCase("tinyllamas-stories260K/stories260K.bin", "tok512.bin", 1e-4)]
    [TestCase("tinystories-656K/model.f32.safetensors", "tokenizer.json", 0)]
    [TestCase("tinystories-656K/model.bf16.safetensors", "tokenizer.json", 0)]
    public void AWrittenModelHasTheSameLogits(string modelFile, string tokenizer, double tolerance)
    {
        using LoadedModel model = ModelFixture.Load("cpu", modelFile);
        using var folder = new TemporaryFolder();
        using (ModelFile source = ModelFile.Open(TestData.PathOf(modelFile)))
            HuggingFaceCheckpoint.Write(folder.Path, source.Description, source.Weights);
        folder.Copy(ModelFixture.ReferenceFile(modelFile, tokenizer));
        using LoadedModel written = ModelLoader.Load(folder.Path, model.Weights.Device);
        Assert.That(written.Weights.Bytes, Is.EqualTo(model.Weights.Bytes));
        Assert.That(written.Description.EosTokenIds, Is.EqualTo(model.Description.EosTokenIds));
        Assert.That(written.Description.BosTokenId, Is.EqualTo(model.Description.BosTokenId));
        int[] ids = HeadIdentificationTests.ReadIds(modelFile);
        float[] expected = Logits(model.Description, model.Weights, ids);
        Assert.That(Logits(written.Description, written.Weights, ids), Is.EqualTo(expected).Within(tolerance));
    }

    [Test]
    public void AScaledRotaryEmbeddingIsReadBack()
    {
        const string ModelFileName = "tinystories-656K/model.f32.safetensors";
        using var folder = new TemporaryFolder();
        using ModelFile source = ModelFile.Open(TestData.PathOf(ModelFileName));
        foreach (RotaryScaling scaling in (RotaryScaling[])[new LinearRotaryScaling(2.5), new Llama3RotaryScaling(8, 1.5, 3, 100)])
        {
            ModelDescription scaled = source.Description with
            {
                Layers = [.. source.Description.Layers.Select(
                    layer => layer with { Rotary = layer.Rotary! with { Base = 12345.5, Scaling = scaling } })],
            };
            HuggingFaceCheckpoint.Write(folder.Path, scaled, source.Weights);
            using ModelFile read = ModelFile.Open(folder.Path);
            Assert.That(read.Description.Layers, Is.EqualTo(scaled.Layers));
        }
    }

    [Test]
    public void WhatTheFormatCannotSayIsRefused()
    {
        using var folder = new TemporaryFolder();
        string target = Path.Combine(folder.Path, "model");
        var model = new InductionModel();
        Assert.That(
            () => HuggingFaceCheckpoint.Write(target, model.Description, model), Throws.TypeOf<NotSupportedException>());
        Assert.That(Directory.Exists(target), Is.False);
    }

    internal static float[] Logits(ModelDescription description, ModelWeights weights, ReadOnlySpan<int> tokens)
    {
        using var runner = new ModelRunner(description, weights);
        var logits = new float[tokens.Length * description.VocabSize];
        runner.Prefill(tokens, logits);
        return logits;
    }
}
