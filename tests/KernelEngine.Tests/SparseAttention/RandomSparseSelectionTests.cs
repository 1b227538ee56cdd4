namespace KernelEngine.Tests.SparseAttention;

public sealed class RandomSparseSelectionTests()
    : RandomProblemTests(RandomSparseSelection.Operations, (seed, operation) => new RandomSparseSelection(seed).Draw(operation))
{
    [Test]
    public void EveryOptionIsDrawn()
    {
        CheckDraws("sparse-select", "causal", "earliest", "sinks=", "recent=", "lengths", "grouped", "m=32", "m=1 ", "b=3");
        CheckDraws("sparse-encode", "l2", "bf16", "f16", "dc=12");
        CheckDraws("sparse-codebook", "rowgrad", "bf16", "f16");
    }
}
