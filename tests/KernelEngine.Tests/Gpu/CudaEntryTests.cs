using System.Collections.Concurrent;
using System.Globalization;
using System.Text.RegularExpressions;

namespace KernelEngine.Tests.Gpu;

/// <summary>The finished PTX of every kernel with NVIDIA's own instructions, and what the assembler makes of it.</summary>
[TestFixture]
public sealed partial class CudaEntryTests
{
    // Shared memory that one group may ask for.
    private const int MaxSharedOfSm80 = 163 << 10, MaxSharedOfSm90 = 227 << 10;

    // Whose figures the committed table holds.
    private const string Release = "12.4";

    private static readonly string[] s_counted = ["HMMA", "HGMMA", "LDGSTS", "UTMALDG"];
    private static readonly ConcurrentDictionary<CudaEntry, PtxKernel> s_compiled = [];
    private static readonly ConcurrentDictionary<CudaEntry, AssembledPtx> s_assembled = [];

    [TestCaseSource(nameof(AllEntries))]
    public void IsFinished(object entryObject)
    {
        var entry = (CudaEntry)entryObject;
        PtxKernel kernel = Compile(entry);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Leftover().Matches(kernel.Text).Select(m => m.Value), Is.Empty, "templates and local memory");
            Assert.That(kernel.Text, Does.Contain($".target {entry.Target}\n"));
            Assert.That(kernel.Text, Does.Contain($".maxntid {entry.Threads}"));
            Assert.That(kernel.Text, Does.Match($@"\.entry\s+{kernel.EntryName}\("));
            Assert.That(kernel.EntryName.Split('_'), Is.EqualTo(entry.Name.Split('<', ',', '>', ' ').Where(part => part != "")), "what profilers show");
            Assert.That(kernel.Text, Does.Not.Contain(".extern .func"));
            Assert.That(entry.DynamicSharedBytes, Is.AtMost(entry.Target == PtxTarget.Sm90a ? MaxSharedOfSm90 : MaxSharedOfSm80));
        }
    }

    [TestCaseSource(nameof(AllEntries))]
    [Category("Ptxas")]
    public void StaysInRegistersAndUsesTensorCores(object entryObject)
    {
        PtxAssembler.Require();
        var entry = (CudaEntry)entryObject;
        bool isHopper = entry.Target == PtxTarget.Sm90a;
        AssembledPtx assembled = Assemble(entry);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(assembled.IsInRegisters, $"{entry} for {entry.Target}: {assembled}");
            Assert.That(assembled.Warning, Is.Null, "what costs speed");
            int groups = entry.Specialization.MinNumGroupsPerMultiprocessor ?? 1;
            Assert.That(assembled.Registers * entry.Threads * groups, Is.AtMost(65536), "registers of a multiprocessor's groups");
            // Every multiplication of the text is one instruction of the machine; nothing is unrolled further.
            int products = Products().Count(Compile(entry).Text);
            Assert.That(assembled.Count(isHopper ? "HGMMA" : "HMMA"), Is.EqualTo(products).And.Positive, "products on tensor cores");
            Assert.That(assembled.Count(isHopper ? "UTMALDG" : "LDGSTS.E.BYPASS.LTC128B.128"), Is.Positive, "copies of 16 bytes and more");
        }
        if (isHopper)
            return;
        AssembledPtx onHopper = PtxAssembler.Assemble(Compile(entry).Text, "sm_90");
        Assert.That(onHopper.IsInRegisters, $"{entry} for sm_90: {onHopper}");
    }

    [Test]
    [Category("Ptxas")]
    public void TheCommittedTableIsThatOfTheAssembler()
    {
        PtxAssembler.Require();
        if (PtxAssembler.Release != Release)
            Assert.Ignore($"The committed table is that of CUDA {Release}, and these tools are of {PtxAssembler.Release}.");
        string[] columns = ["kernel", "code", "for", "threads", "registers", "spills", "stack", "shared KiB", "groups", .. s_counted];
        CommittedTable.Require(
            "benchmarks/KernelEngine.Benchmarks/results/cuda-kernels.md",
            [
                $"| {string.Join(" | ", columns)} |",
                "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
                .. All().AsParallel().AsOrdered().Select(pair => Row(pair.Kernel, pair.Entry)),
            ],
            "the table holds what the assembler makes of each kernel");
    }

    private static string Row(string kernel, CudaEntry entry)
    {
        AssembledPtx assembled = Assemble(entry);
        int sharedBytes = assembled.SharedBytes + entry.DynamicSharedBytes;
        var occupancy = Occupancy.Estimate(entry.Target.Name, assembled.Registers, sharedBytes, entry.Threads);
        object[] cells =
        [
            kernel, entry.Name.Replace('<', ' ').TrimEnd('>'), entry.Target, entry.Threads, assembled.Registers,
            assembled.SpillStoreBytes + assembled.SpillLoadBytes, assembled.StackBytes,
            (entry.DynamicSharedBytes / 1024.0).ToString("0.0", CultureInfo.InvariantCulture),
            $"{occupancy.Groups} ({occupancy.Limit})", .. s_counted.Select(name => (object)assembled.Count(name)),
        ];
        return $"| {string.Join(" | ", cells)} |";
    }

    private static PtxKernel Compile(CudaEntry entry) => s_compiled.GetOrAdd(entry, PtxCompiler.Compile);

    private static AssembledPtx Assemble(CudaEntry entry) =>
        s_assembled.GetOrAdd(entry, e => PtxAssembler.Assemble(Compile(e).Text, e.Target.Name, countInstructions: true));

    private static IEnumerable<TestCaseData> AllEntries() =>
        All().Select(pair => new TestCaseData(pair.Entry).SetArgDisplayNames(pair.Kernel, pair.Entry.Name));

    private static IEnumerable<(string Kernel, CudaEntry Entry)> All() =>
        from operation in OperationList.All
        from kernel in operation.Kernels
        where kernel.Devices == DeviceKinds.Cuda && !kernel.Name.StartsWith("cross-entropy-training", StringComparison.Ordinal) // the others' code
        from entry in ((IGpuKernel)kernel).Entries.OfType<CudaEntry>()
        select (kernel.Name, entry);

    [GeneratedRegex(@"^\s*\$.*$|\$\(|\$list|\$pick|\.local\s[^;\n]*|__local_depot\d+", RegexOptions.Multiline)]
    private static partial Regex Leftover();

    [GeneratedRegex(@"^\s*(mma\.sync|wgmma\.mma_async)", RegexOptions.Multiline)]
    private static partial Regex Products();
}
