using KernelEngine.Kernels.Gpu.Attention;

namespace KernelEngine.Tests.Gpu;

/// <summary>How decoding on tensor cores cuts the keys, and what the assembler makes of it.</summary>
[TestFixture]
public sealed class AttentionDecodeMmaTests
{
    private const int Multiprocessors = 132;

    [TestCase("h=32 kv=8 q=1 k=32768 d=128 bf16", 32)]
    [TestCase("b=16 h=32 kv=8 q=1 k=32768 d=128 bf16", 8)]
    [TestCase("b=264 h=8 kv=8 q=1 k=300 d=64 bf16", 1)]
    [TestCase("h=32 kv=8 q=1 k=200 d=128 bf16", 1)]
    [TestCase("h=1 q=1 k=1000000 d=128 bf16", 128)]
    [TestCase("b=20000 h=1 q=1 k=100000 d=128 bf16", 1)]
    [TestCase("b=0 h=8 q=1 k=1000 d=64 bf16", 1)]
    public void SplitsFillTheMultiprocessors(string text, int splits) =>
        Assert.That(AttentionDecodeMma.ChooseSplits(ProblemText.Parse<AttentionProblem>(text), Multiprocessors), Is.EqualTo(splits).Within(splits > 100 ? 8 : 0));

    [TestCase("sm_80")]
    [TestCase("sm_90")]
    [Category("Ptxas")]
    public void AssemblesToTensorCoreInstructionsInRegisters(string architecture)
    {
        PtxAssembler.Require();
        foreach (CudaEntry entry in new AttentionDecodeMma().Entries.Cast<CudaEntry>())
        {
            AssembledPtx assembled = PtxAssembler.Assemble(PtxCompiler.Compile(entry).Text, architecture, countInstructions: true);
            (int products, int copies) = entry.Name.Contains(nameof(DecodeMmaTile96), StringComparison.Ordinal) ? (24, 32)
                : entry.Name.Contains(nameof(DecodeMmaTile256), StringComparison.Ordinal) ? (64, 64) : (32, 32);
            using (Assert.EnterMultipleScope())
            {
                Assert.That(assembled.IsInRegisters, entry.Name);
                Assert.That(assembled.Count("HMMA.16816"), Is.EqualTo(products), entry.Name);
                Assert.That(assembled.Count("LDGSTS.E.BYPASS.LTC128B.128"), Is.EqualTo(copies), entry.Name);
                Assert.That(assembled.Registers * entry.Threads * FlashDecodeMma.GroupsPerMultiprocessor, Is.AtMost(1 << 16), entry.Name);
            }
        }
    }
}
