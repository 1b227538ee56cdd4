using ILGPU;
using ILGPU.Runtime.Cuda;

namespace KernelEngine.Tests.Gpu;

/// <summary>What NVIDIA's assembler makes of the portable kernels: no GPU is needed to see that a kernel lost its registers.</summary>
[TestFixture]
[Category("Ptxas")]
public sealed class PtxTests
{
    private static readonly string[] s_architectures = ["sm_80", "sm_90"];

    private Context _context = null!;

    [OneTimeSetUp]
    public void CreateContext()
    {
        PtxAssembler.Require();
        _context = PtxCompiler.CreateContext();
    }

    [OneTimeTearDown]
    public void DisposeContext() => _context?.Dispose();

    [TestCaseSource(nameof(GpuKernels))]
    public void PortableKernelsStayInRegisters(string name)
    {
        Kernel kernel = OperationList.FindKernel(name).Kernel;
        (GpuEntry Entry, string Text)[] codes = [.. ((IGpuKernel)kernel).Entries.Select(entry => (entry, Compile(entry)))];
        var runs = codes.SelectMany(code => s_architectures.Select(architecture => (code.Entry, code.Text, Architecture: architecture)));
        var failures = runs.AsParallel().Select(run =>
        {
            AssembledPtx assembled = PtxAssembler.Assemble(run.Text, run.Architecture);
            return assembled.IsInRegisters && assembled.SharedBytes == run.Entry.SharedBytes ? null : $"{run.Entry} for {run.Architecture}: {assembled}";
        }).Where(failure => failure is not null).ToList();
        Assert.That(failures, Is.Empty, string.Join('\n', failures));
    }

    [Test]
    public void CountsWhatSpillsAndWhichInstructionsThereAre()
    {
        // A copy of 16 bytes a thread through an array on the stack that is indexed at run time.
        const string text = """
            .version 8.0
            .target sm_80
            .address_size 64
            .visible .entry copy(.param .u64 source, .param .u64 target, .param .u32 index)
            {
                .local .align 16 .b8 array[64];
                .shared .align 4 .b8 unused[256];
                .reg .b64 %p<6>;
                .reg .b32 %r<9>;
                ld.param.u64 %p1, [source];
                ld.param.u64 %p2, [target];
                ld.param.u32 %r1, [index];
                ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%p1];
                mov.u64 %p3, array;
                mul.wide.u32 %p4, %r1, 4;
                add.u64 %p5, %p3, %p4;
                st.local.u32 [%p5], %r2;
                st.local.u32 [array], %r3;
                st.shared.u32 [unused], %r4;
                bar.sync 0;
                ld.local.u32 %r6, [%p5];
                st.global.u32 [%p2], %r6;
                ret;
            }
            """;
        AssembledPtx assembled = PtxAssembler.Assemble(text, "sm_90", countInstructions: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(assembled.StackBytes, Is.EqualTo(64));
            Assert.That(assembled.IsInRegisters, Is.False);
            Assert.That(assembled.SharedBytes, Is.EqualTo(256));
            Assert.That(assembled.Registers, Is.InRange(4, 32));
            Assert.That(assembled.Count("LDG.E.128"), Is.EqualTo(1));
            Assert.That(assembled.Count("LDG"), Is.EqualTo(1));
            Assert.That(assembled.Count("STL"), Is.EqualTo(2));
            Assert.That(assembled.Count("EXIT"), Is.Positive);
            Assert.That(assembled.Count("HMMA"), Is.Zero);
        }
    }

    [Test]
    public void SaysWhatTheAssemblerRefused() => Assert.That(
        () => PtxAssembler.Assemble(".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry e() { add.f99 x; }", "sm_80"),
        Throws.InvalidOperationException.With.Message.Contains("line 4"));

    private static IEnumerable<string> GpuKernels() =>
        OperationList.All.SelectMany(o => o.Kernels).Where(k => (k.Devices & DeviceKinds.OpenCL) != 0 && k is IGpuKernel).Select(k => k.Name);

    private string Compile(GpuEntry entry) => PtxCompiler.CompileText(_context, entry, CudaArchitecture.SM_80);
}
