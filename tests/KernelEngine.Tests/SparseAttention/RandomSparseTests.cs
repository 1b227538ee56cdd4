namespace KernelEngine.Tests.SparseAttention;

public sealed class RandomSparseTests()
    : RandomProblemTests(RandomSparse.Operations, (seed, operation) => new RandomSparse(seed).Draw(operation))
{
    [Test]
    public void EveryOptionIsDrawn()
    {
        CheckDraws("sparse-select", "causal", "earliest", "sinks=", "recent=", "lengths", "grouped", "m=32", "m=1 ", "b=3", "columns=u16");
        CheckDraws("sparse-encode", "l2", "bf16", "f16", "dc=12");
        CheckDraws("sparse-codebook", "rowgrad", "bf16", "f16");
        CheckDraws("sparse-attention-forward", "index=", "kv=", "softcap=", "scale=", "columns=u16", "bf16");
        CheckDraws("sparse-attention-selected", "grouped", "lengths", "causal", "softcap=", "dv=", "columns=u16", "bf16");
        CheckDraws("sparse-attention-backward", "gradlse", "dv=", "columns=u16", "f16");
        CheckDraws("feed-forward-forward", "act=swiglu", "act=relu", "gating=post", "upbias", "downbias", "g=17", "bf16");
        CheckDraws("feed-forward-backward", "units", "gating=post");
        CheckDraws("feed-forward-route", "balance=1", "bias");
        CheckDraws("feed-forward-route-backward", "gradgates");
    }
}
