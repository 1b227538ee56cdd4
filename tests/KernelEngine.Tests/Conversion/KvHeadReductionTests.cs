using KernelEngine.Models;
using KernelEngine.Models.Conversion;
using KernelEngine.Models.Formats;
using KernelEngine.Models.Heads;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Heads;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.Conversion;

public sealed class KvHeadReductionTests
{
    private const string Interleaved = "tinyllamas-stories260K/stories260K.bin", HalfSplit = "tinystories-656K/model.f32.safetensors";

    // Each key/value head twice, the copy times a number that its queries and outputs are divided by: the same model, whose pairs of
    // heads hold no more than one. The reduction must find back what was doubled.
    [TestCase(Interleaved)]
    [TestCase(HalfSplit)]
    public void DoubledHeadsAreOneAgain(string modelFile)
    {
        using ModelFile file = ModelFile.Open(TestData.PathOf(modelFile));
        CheckDoubled(file.Description, file.Weights, HeadIdentificationTests.ReadIds(modelFile));
    }

    // With one layer that does not turn its keys.
    [Test]
    public void DoubledHeadsWithoutRotaryEmbeddingAreOneAgain()
    {
        var model = new InductionModel(new InductionModelOptions { GroupSize = 2, PreviousTokenSharpness = 8, MatchSharpness = 8 });
        CheckDoubled(model.Description, model, [.. new NeedleTask(128, 0.4).Context, 33, 34]);
    }

    // Of two complex numbers the Gram matrix [[a, b], [b*, d]] has the larger eigenvalue (a + d) / 2 + √((a − d)² / 4 + |b|²).
    // In the first layer, whose input is still the same, the shared keys and values hold just the energy that is reported.
    [TestCase(Interleaved)]
    [TestCase(HalfSplit)]
    public void TheEnergyIsWhatTheSharedHeadsHold(string modelFile)
    {
        using ModelFile file = ModelFile.Open(TestData.PathOf(modelFile));
        Device device = ModelFixture.GetDevice("cpu");
        int[] ids = HeadIdentificationTests.ReadIds(modelFile);
        using var weights = ModelWeights.Load(device, file.Description, file.Weights);
        ModelCapture capture = ModelCapture.Read(file.Description, weights, ids);
        ReducedModel reduced = KvHeadReduction.Reduce(file.Weights, capture, 2);
        Assert.That(reduced.Description.Layers.Select(layer => layer.NumKvHeads), Is.All.EqualTo(2));
        for (int layer = 0; layer < capture.Layers.Count; layer++)
            Assert.That(reduced.KeyEnergy[layer], Is.EqualTo(ClosedFormKeyEnergy(capture.Layers[layer])).Within(1e-9));
        Assert.That(reduced.ValueEnergy, Is.All.InRange(0.5, 1));
        using var newWeights = ModelWeights.Load(device, reduced.Description, reduced.Weights);
        ModelCapture shared = ModelCapture.Read(reduced.Description, newWeights, ids);
        CapturedLayer before = capture.Layers[0], after = shared.Layers[0];
        Assert.That(Energy(after, after.Key) / Energy(before, before.Key), Is.EqualTo(reduced.KeyEnergy[0]).Within(1e-5));
        Assert.That(Energy(after, after.Value) / Energy(before, before.Value), Is.EqualTo(reduced.ValueEnergy[0]).Within(1e-5));
    }

    [Test]
    public void AReducedModelIsAnOrdinaryCheckpoint()
    {
        using ModelFile file = ModelFile.Open(TestData.PathOf(Interleaved));
        Device device = ModelFixture.GetDevice("cpu");
        int[] ids = HeadIdentificationTests.ReadIds(Interleaved);
        using var weights = ModelWeights.Load(device, file.Description, file.Weights);
        ReducedModel reduced = KvHeadReduction.Reduce(file.Weights, ModelCapture.Read(file.Description, weights, ids), 2);
        using var newWeights = ModelWeights.Load(device, reduced.Description, reduced.Weights);
        using var folder = new TemporaryFolder();
        HuggingFaceCheckpoint.Write(folder.Path, reduced.Description, reduced.Weights);
        folder.Copy(ModelFixture.ReferenceFile(Interleaved, "tok512.bin"));
        using LoadedModel written = ModelLoader.Load(folder.Path, device);
        Assert.That(written.Description.Layers[0].NumKvHeads, Is.EqualTo(2));
        float[] expected = HuggingFaceCheckpointTests.Logits(reduced.Description, newWeights, ids);
        Assert.That(HuggingFaceCheckpointTests.Logits(written.Description, written.Weights, ids), Is.EqualTo(expected).Within(1e-4));
    }

    [Test]
    public void HeadsMustDivideIntoGroups()
    {
        var model = new InductionModel();
        Assert.That(() => KvHeadReduction.Reduce(model, new ModelCapture(model.Description), 3), Throws.ArgumentException);
        Assert.That(() => KvHeadReduction.Reduce(model, new ModelCapture(model.Description), 2), Throws.ArgumentException); // nothing read
    }

    private static void CheckDoubled(ModelDescription description, IWeightSource source, int[] ids)
    {
        Device device = ModelFixture.GetDevice("cpu");
        using var weights = ModelWeights.Load(device, description, source);
        float[] expected = HuggingFaceCheckpointTests.Logits(description, weights, ids);
        (ModelDescription doubled, IWeightSource doubledSource) = Double(description, source);
        using var doubledWeights = ModelWeights.Load(device, doubled, doubledSource);
        Assert.That(HuggingFaceCheckpointTests.Logits(doubled, doubledWeights, ids), Is.EqualTo(expected).Within(2e-4), "doubled model");
        ReducedModel reduced = KvHeadReduction.Reduce(doubledSource, ModelCapture.Read(doubled, doubledWeights, ids), 2);
        Assert.That(reduced.Description.Layers, Is.EqualTo(description.Layers));
        Assert.That(reduced.KeyEnergy, Is.All.EqualTo(1).Within(1e-9));
        Assert.That(reduced.ValueEnergy, Is.All.EqualTo(1).Within(1e-9));
        using var reducedWeights = ModelWeights.Load(device, reduced.Description, reduced.Weights);
        Assert.That(HuggingFaceCheckpointTests.Logits(reduced.Description, reducedWeights, ids), Is.EqualTo(expected).Within(2e-4));
    }

    private static (ModelDescription, IWeightSource) Double(ModelDescription description, IWeightSource source)
    {
        const float Factor = -0.5f;
        var weights = new ReplacedWeights(source);
        int hidden = description.HiddenSize;
        for (int index = 0; index < description.Layers.Length; index++)
        {
            LayerDescription layer = description.Layers[index];
            int queriesPerHead = layer.NumHeads / layer.NumKvHeads;
            foreach (WeightRole role in (WeightRole[])[WeightRole.Key, WeightRole.Value])
            {
                int width = role == WeightRole.Key ? layer.HeadDim : layer.ValueHeadDim;
                float[] old = source.Find(role, index)!.ReadSingles(), twice = new float[2 * old.Length];
                for (int i = 0; i < twice.Length; i++)
                {
                    (int head, int at) = Math.DivRem(i, width * hidden);
                    twice[i] = old[head / 2 * width * hidden + at] * (head % 2 == 0 ? 1 : Factor);
                }
                weights.Replace(role, index, twice, 2 * layer.NumKvHeads * width, hidden);
            }
            // The second half of each group of query heads now belongs to the copy.
            bool IsOfTheCopy(int head) => head % queriesPerHead >= queriesPerHead / 2;
            float[] query = source.Find(WeightRole.Query, index)!.ReadSingles();
            float[] output = source.Find(WeightRole.AttentionOutput, index)!.ReadSingles();
            for (int i = 0; i < query.Length; i++)
                query[i] /= IsOfTheCopy(i / (layer.HeadDim * hidden)) ? Factor : 1;
            for (int i = 0; i < output.Length; i++)
                output[i] /= IsOfTheCopy(i % (layer.NumHeads * layer.ValueHeadDim) / layer.ValueHeadDim) ? Factor : 1;
            weights.Replace(WeightRole.Query, index, query, layer.NumHeads * layer.HeadDim, hidden);
            weights.Replace(WeightRole.AttentionOutput, index, output, hidden, output.Length / hidden);
        }
        var layers = description.Layers.Select(layer => layer with { NumKvHeads = 2 * layer.NumKvHeads });
        return (description with { Layers = [.. layers] }, weights);
    }

    private static double ClosedFormKeyEnergy(CapturedLayer layer)
    {
        double kept = 0, total = 0;
        for (int group = 0; group < layer.Description.NumKvHeads / 2; group++)
        {
            for (int pair = 0; pair < layer.Description.HeadDim / 2; pair++)
            {
                (int first, int second) = layer.Description.Rotary!.Pairing == RotaryPairing.Interleaved
                    ? (2 * pair, 2 * pair + 1)
                    : (pair, pair + layer.Description.HeadDim / 2);
                double a = 0, d = 0, real = 0, imaginary = 0;
                for (int token = 0; token < layer.Length; token++)
                {
                    ReadOnlySpan<float> x = layer.Key(token, 2 * group), y = layer.Key(token, 2 * group + 1);
                    (double x1, double x2, double y1, double y2) = (x[first], x[second], y[first], y[second]);
                    a += x1 * x1 + x2 * x2;
                    d += y1 * y1 + y2 * y2;
                    real += x1 * y1 + x2 * y2;
                    imaginary += x1 * y2 - x2 * y1;
                }
                kept += (a + d) / 2 + Math.Sqrt((a - d) * (a - d) / 4 + real * real + imaginary * imaginary);
                total += a + d;
            }
        }
        return kept / total;
    }

    private delegate ReadOnlySpan<float> ReadRow(int token, int head);

    private static double Energy(CapturedLayer layer, ReadRow read)
    {
        double sum = 0;
        for (int token = 0; token < layer.Length; token++)
        {
            for (int head = 0; head < layer.Description.NumKvHeads; head++)
            {
                foreach (float element in read(token, head))
                    sum += (double)element * element;
            }
        }
        return sum;
    }
}
