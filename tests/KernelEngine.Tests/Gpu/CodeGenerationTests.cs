using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace KernelEngine.Tests.Gpu;

/// <summary>
/// What ILGPU makes of every piece of device code, compiled without a device for NVIDIA's PTX and for OpenCL C. A new kernel is
/// covered by standing in its operation's list.
/// </summary>
[TestFixture]
public sealed partial class CodeGenerationTests
{
    private const int MaxSharedBytes = 48 << 10;

    private static readonly CudaArchitecture[] Architectures = [CudaArchitecture.SM_80, CudaArchitecture.SM_90];

    private Context _context = null!;

    [OneTimeSetUp]
    public void CreateContext() => _context = PtxCompiler.CreateContext();

    [OneTimeTearDown]
    public void DisposeContext() => _context.Dispose();

    [TestCaseSource(nameof(AllEntries))]
    public void CompilesToPtx(object entryObject)
    {
        var entry = (GpuEntry)entryObject;
        foreach (CudaArchitecture architecture in Architectures)
        {
            string text = PtxCompiler.CompileText(_context, entry, architecture);
            using (Assert.EnterMultipleScope())
            {
                Assert.That(text, Does.Contain(".entry"));
                Assert.That(text, Does.Not.Contain(".extern .func"), "calls a function that nobody defines");
                Assert.That(Local().Matches(text).Select(m => m.Value), Is.Empty, "keeps arrays or structs in local memory");
                Assert.That(SharedBytes(text), Is.EqualTo(entry.SharedBytes).And.AtMost(MaxSharedBytes));
                Assert.That(text, Does.Contain($".maxntid {entry.Threads}"));
                Assert.That(QuadLoad().IsMatch(text), Is.EqualTo(entry.HasQuadLoads), "loads of four elements at once");
            }
        }
    }

    [TestCaseSource(nameof(AllEntries))]
    public void CompilesToOpenCL(object entryObject)
    {
        var entry = (GpuEntry)entryObject;
        foreach (CLDeviceVendor vendor in Enum.GetValues<CLDeviceVendor>())
        {
            // No half precision, no double precision, no 64-bit atomics, no sub-groups: what every device has.
            var capabilities = new CLCapabilityContext(false, false, true, false, false);
            using var backend = new CLBackend(_context, capabilities, vendor, new CLCVersion(2, 0));
            string text = ((CLCompiledKernel)backend.Compile(
                EntryPointDescription.FromExplicitlyGroupedKernel(entry.Method), entry.Specialization)).Source;
            using (Assert.EnterMultipleScope())
            {
                Assert.That(text, Does.Contain("kernel"));
                Assert.That(VendorFunction().Matches(text).Select(m => m.Value), Is.Empty, $"calls what not every device has (vendor {vendor})");
                Assert.That(text, Does.Not.Contain("double"));
            }
        }
    }

    [Test]
    public void EveryGpuKernelHasEntries()
    {
        using (Assert.EnterMultipleScope())
        {
            foreach (Kernel kernel in OperationList.All.SelectMany(o => o.Kernels).Where(k => (k.Devices & DeviceKinds.Ilgpu) != 0))
                Assert.That((kernel as IGpuKernel)?.Entries, Is.Not.Null.And.Not.Empty, kernel.Name);
        }
    }

    private static IEnumerable<TestCaseData> AllEntries()
    {
        foreach (Operation operation in OperationList.All)
        {
            foreach (Kernel kernel in operation.Kernels)
            {
                foreach (GpuEntry entry in ((kernel as IGpuKernel)?.Entries ?? []).Where(e => e is not CudaEntry))
                    yield return new TestCaseData(entry).SetArgDisplayNames(kernel.Name, entry.Name);
            }
        }
        foreach (GpuEntry entry in GpuRoofs.Entries)
            yield return new TestCaseData(entry).SetArgDisplayNames("roofs", entry.Name);
    }

    private static int SharedBytes(string ptx) => Shared().Matches(ptx).Sum(m => int.Parse(m.Groups[1].Value, null));

    [GeneratedRegex(@"\.local\s[^;\n]*")]
    private static partial Regex Local();

    [GeneratedRegex(@"\.shared\s+\.align\s+\d+\s+\.b8\s+\S+\[(\d+)\]")]
    private static partial Regex Shared();

    [GeneratedRegex(@"ld\.global\.v[24]\.")]
    private static partial Regex QuadLoad();

    [GeneratedRegex(@"\b(intel_|amd_|__builtin|sub_group_|atom_|asm\b)\w*")]
    private static partial Regex VendorFunction();
}
