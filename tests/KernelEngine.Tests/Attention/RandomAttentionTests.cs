namespace KernelEngine.Tests.Attention;

public sealed class RandomAttentionTests()
    : RandomProblemTests(RandomAttention.Operations, (seed, operation) => new RandomAttention(seed).Draw(operation))
{
    [Test]
    public void EveryFeatureIsDrawn() => CheckDraws(
        "attention-forward", "causal", "topleft", "left=", "right=", "sinks=", "chunk=", "softcap=", "bias=", "biastype=", "mask=", "block=", "ragged=",
        "page=", "headpages", "alibi", "sink ", "headwindows", "lengths", "slotbias", "gain", "offset", "kvtype=i8", "bf16", "f16", "dv=", "scale=");
}
