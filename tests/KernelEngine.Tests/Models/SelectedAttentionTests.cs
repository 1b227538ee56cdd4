using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Tests.Heads;

namespace KernelEngine.Tests.Models;

/// <summary>A runner whose attention looks at a few keys.</summary>
public sealed class SelectedAttentionTests
{
    private const string Stories = "tinyllamas-stories260K/stories260K.bin", HalfSplit = "tinystories-656K/model.f32.safetensors";
    private const int KeepCount = 20;

    private static readonly int[] Prompt = [.. Enumerable.Range(0, 60).Select(i => i * 37 % 500 + 3)];

    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.Devices))]
    public void WhenAllKeysAreLookedAtNothingChanges(string deviceName)
    {
        using LoadedModel model = ModelFixture.Load(deviceName, Stories);
        Assert.That(Read(model, new RunnerOptions { KeepCount = Prompt.Length }), Is.EqualTo(Read(model, new RunnerOptions())));
    }

    // Every key has the code of every query then: of equals the later is kept.
    [TestCaseSource(typeof(ModelFixture), nameof(ModelFixture.Devices))]
    public void ACodebookOfZerosLeavesTheLastKeys(string deviceName)
    {
        Device device = ModelFixture.GetDevice(deviceName);
        using ModelFile file = ModelFile.Open(TestData.PathOf(Stories));
        var zeros = new ReplacedWeights(file.Weights);
        for (int layer = 0; layer < file.Description.Layers.Length; layer++)
            zeros.Replace(WeightRole.Codebook, layer, new float[3 * KernelEngine.SparseAttention.Codewords * 3], 3, KernelEngine.SparseAttention.Codewords, 3);
        ModelDescription description = file.Description with { Layers = [.. file.Description.Layers.Select(layer => layer with { SubVectorSize = 3 })] };
        using var weights = ModelWeights.Load(device, description, zeros);
        float[] expected = Read(description, weights, new RunnerOptions { HeadWindows = (_, _) => (0, KeepCount) });
        foreach (int chunk in (int[])[256, 7])
        {
            float[] actual = Read(description, weights, new RunnerOptions { KeepCount = KeepCount, ChunkSize = chunk });
            Assert.That(actual, Is.EqualTo(expected).Within(1e-4), $"chunks of {chunk}");
        }
    }

    [TestCase(Stories)]
    [TestCase(HalfSplit)]
    public void FittedCodebooksAreKeptAndChunksDoNotMatter(string modelFile)
    {
        Device device = ModelFixture.GetDevice("cpu");
        int[] text = HeadIdentificationTests.ReadIds(modelFile);
        using ModelFile file = ModelFile.Open(TestData.PathOf(modelFile));
        (ModelDescription description, IWeightSource source) = CodebookFitting.Fit(device, file.Description, file.Weights, text);
        using var folder = new TemporaryFolder();
        HuggingFaceCheckpoint.Write(folder.Path, description, source);
        using ModelFile written = ModelFile.Open(folder.Path);
        Assert.That(written.Description.Layers, Is.EqualTo(description.Layers));
        using var weights = ModelWeights.Load(device, written.Description, written.Weights);
        for (int layer = 0; layer < description.Layers.Length; layer++)
        {
            Assert.That(weights.Layers[layer].Codebook!.ToArray<float>(),
                Is.EqualTo(source.Find(WeightRole.Codebook, layer)!.ReadSingles()));
        }

        using var original = ModelWeights.Load(device, file.Description, file.Weights);
        float[] full = Read(file.Description, original, new RunnerOptions());
        Assert.That(Read(written.Description, weights, new RunnerOptions()), Is.EqualTo(full).Within(1e-4), "without choosing");
        float[] whole = Read(written.Description, weights, new RunnerOptions { KeepCount = KeepCount });
        Assert.That(Read(written.Description, weights, new RunnerOptions { KeepCount = KeepCount, ChunkSize = 1 }), Is.EqualTo(whole).Within(1e-3));
        Assert.That(whole, Is.Not.EqualTo(full).Within(1e-2), "few keys are not all");
    }

    [Test]
    public void WhatWasForgottenIsNotChosen()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { KeepCount = KeepCount, ChunkSize = 32 });
        runner.Prefill(Prompt);
        runner.Rewind(50);
        runner.Decode(100);
        float[] expected = runner.GetLogits();
        runner.Rewind(50);
        runner.Prefill([5, 6, 7]);
        runner.Rewind(50);
        runner.Decode(100);
        Assert.That(runner.GetLogits(), Is.EqualTo(expected));
    }

    [Test]
    public void DecodingAllocatesNothing()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { KeepCount = KeepCount, InitialCapacity = 512 });
        runner.Prefill(Prompt);
        for (int i = 0; i < 50; i++)
            runner.Decode(i + 3);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 50; i++)
            runner.Decode(i + 3);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void WhatDoesNotGoTogetherIsRefused()
    {
        using LoadedModel model = ModelFixture.Load("cpu", Stories);
        Assert.That(() => model.CreateRunner(new RunnerOptions { KeepCount = -1 }), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => model.CreateRunner(new RunnerOptions { KeepCount = 5, HeadWindows = (_, _) => null }), Throws.ArgumentException);
        using ModelRunner runner = model.CreateRunner(new RunnerOptions { KeepCount = 5 });
        Assert.That(() => runner.ReadCodebook(0), Throws.InvalidOperationException);
    }

    private static float[] Read(LoadedModel model, RunnerOptions options) => Read(model.Description, model.Weights, options);

    private static float[] Read(ModelDescription description, ModelWeights weights, RunnerOptions options)
    {
        using var runner = new ModelRunner(description, weights, options);
        var logits = new float[Prompt.Length * description.VocabSize];
        runner.Prefill(Prompt, logits);
        return logits;
    }
}
