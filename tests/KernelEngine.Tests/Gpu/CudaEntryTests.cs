using System.Text.RegularExpressions;

namespace KernelEngine.Tests.Gpu;

/// <summary>The finished PTX of every kernel with NVIDIA's own instructions, and what the assembler makes of it.</summary>
[TestFixture]
public sealed partial class CudaEntryTests
{
    // Shared memory that one group may ask for.
    private const int MaxSharedOfSm80 = 163 << 10, MaxSharedOfSm90 = 227 << 10;

    [TestCaseSource(nameof(AllEntries))]
    public void IsFinished(object entryObject)
    {
        var entry = (CudaEntry)entryObject;
        PtxKernel kernel = PtxCompiler.Compile(entry);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Leftover().Matches(kernel.Text).Select(m => m.Value), Is.Empty, "templates and local memory");
            Assert.That(kernel.Text, Does.Contain($".target {entry.Target}\n"));
            Assert.That(kernel.Text, Does.Contain($".maxntid {entry.Threads}"));
            Assert.That(kernel.Text, Does.Not.Contain(".extern .func"));
            Assert.That(entry.DynamicSharedBytes, Is.AtMost(entry.Target == PtxTarget.Sm90a ? MaxSharedOfSm90 : MaxSharedOfSm80));
        }
    }

    [TestCaseSource(nameof(AllEntries))]
    [Category("Ptxas")]
    public void StaysInRegistersAndUsesTensorCores(object entryObject)
    {
        if (PtxAssembler.WhyAbsent is { } reason)
            Assert.Ignore(reason);
        var entry = (CudaEntry)entryObject;
        string text = PtxCompiler.Compile(entry).Text;
        bool isHopper = entry.Target == PtxTarget.Sm90a;
        foreach (string architecture in isHopper ? ["sm_90a"] : new[] { "sm_80", "sm_90" })
        {
            AssembledPtx assembled = PtxAssembler.Assemble(text, architecture, countInstructions: architecture != "sm_80");
            using (Assert.EnterMultipleScope())
            {
                Assert.That(assembled.IsInRegisters, $"{entry} for {architecture}: {assembled}");
                Assert.That(assembled.Registers * entry.Threads, Is.AtMost(65536));
                if (architecture == "sm_80")
                    continue;
                // Every multiplication of the text is one instruction of the machine; nothing is unrolled further.
                int products = Products().Count(text);
                Assert.That(assembled.Count(isHopper ? "HGMMA" : "HMMA"), Is.EqualTo(products).And.Positive, "products on tensor cores");
                Assert.That(assembled.Count(isHopper ? "UTMALDG" : "LDGSTS"), Is.Positive, "copies of 16 bytes and more");
            }
        }
    }

    private static IEnumerable<TestCaseData> AllEntries() =>
        from operation in OperationList.All
        from kernel in operation.Kernels
        where kernel.Devices == DeviceKinds.Cuda && !kernel.Name.StartsWith("cross-entropy-training", StringComparison.Ordinal) // the others' code
        from entry in ((IGpuKernel)kernel).Entries.OfType<CudaEntry>()
        select new TestCaseData(entry).SetArgDisplayNames(kernel.Name, entry.Name);

    [GeneratedRegex(@"^\s*\$.*$|\$\(|\$list|\$pick|\.local\s[^;\n]*|__local_depot\d+", RegexOptions.Multiline)]
    private static partial Regex Leftover();

    [GeneratedRegex(@"^\s*(mma\.sync|wgmma\.mma_async)", RegexOptions.Multiline)]
    private static partial Regex Products();
}
