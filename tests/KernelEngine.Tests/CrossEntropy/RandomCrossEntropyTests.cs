namespace KernelEngine.Tests.CrossEntropy;

public sealed class RandomCrossEntropyTests()
    : RandomProblemTests(RandomCrossEntropy.Operations, (seed, operation) => new RandomCrossEntropy(seed).Draw(operation))
{
    [Test]
    public void EveryOptionIsDrawn() => CheckDraws(
        "cross-entropy-backward", "bias", "biastype=", "softcap=", "temperature=", "shard=", "first=", "seq=", "shift=", "ignore=",
        "smoothing=", "zloss=", "classweights", "tokenweights", "sum", "none", "divisor", "nanempty", "gradlse", "gradentropy", "filter=",
        "fullhidden", "fullclassifier", "order", "bf16", "f16");
}
