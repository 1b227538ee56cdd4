using KernelEngine.Models.Formats;

namespace KernelEngine.Tests.Attention;

/// <summary>Queries, keys and values of real models, against outputs computed in float64 by an independent program.</summary>
[TestFixtureSource(typeof(AttentionTarget), nameof(AttentionTarget.All))]
public sealed class AttentionGoldenTests(AttentionTarget target)
{
    // Rows that decode kernels are asked for at a time.
    private const int LastRows = 4;

    [TestCase("tinyllamas-stories260K", 0)]
    [TestCase("tinyllamas-stories260K", 2)]
    [TestCase("tinyllamas-stories260K", 4)]
    [TestCase("tinystories-656K", 0)]
    [TestCase("tinystories-656K", 1)]
    public void MatchesTheReferenceOnRealActivations(string model, int layer)
    {
        using SafetensorsReader file = SafetensorsReader.Open(TestData.PathOf($"{model}/reference_attention.safetensors"));
        StoredTensor query = file[$"layers.{layer}.q"], key = file[$"layers.{layer}.k"];
        int tokens = (int)query.Shape[0], heads = (int)query.Shape[1], headDim = (int)query.Shape[2];
        bool isDecode = target.Operation == KernelEngine.Attention.DecodeOperation;
        int rows = isDecode || target.DeviceName == "simulator" ? LastRows : tokens;
        var problem = new AttentionProblem(1, heads, (int)key.Shape[1], rows, tokens, headDim, headDim, IsCausal: true);
        int width = heads * headDim, skipped = tokens - rows;
        (float[] output, float[] lse) = target.Run(
            problem, query.ReadSingles()[(skipped * width)..], key.ReadSingles(), file[$"layers.{layer}.v"].ReadSingles());

        float[] expectedOutput = file[$"layers.{layer}.o"].ReadSingles()[(skipped * width)..];
        float[] expectedLse = file[$"layers.{layer}.lse"].ReadSingles()[(skipped * heads)..];
        Assert.That(output, Is.EqualTo(expectedOutput).Within(2e-6 * Math.Max(1, expectedOutput.Max(MathF.Abs))));
        float[] tokenMajorLse = [.. from i in Enumerable.Range(0, rows) from h in Enumerable.Range(0, heads) select lse[h * rows + i]];
        Assert.That(tokenMajorLse, Is.EqualTo(expectedLse).Within(2e-6 * Math.Max(1, expectedLse.Max(MathF.Abs))));
    }
}
