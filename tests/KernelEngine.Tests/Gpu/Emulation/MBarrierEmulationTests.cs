namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>mbarrier objects: phases, parity, transactions, and what must be noticed.</summary>
[TestFixture]
public sealed class MBarrierEmulationTests
{
    private const string Declare = ".shared .align 8 .b8 bar[16]; .shared .align 128 .b8 cell[1024];";

    private const string Initialise = """
        mov.u32 %r20, bar;
        setp.eq.u32 %p7, %thread, 0;
        @%p7 mbarrier.init.shared::cta.b64 [%r20], COUNT;
        @%p7 fence.mbarrier_init.release.cluster;
        bar.sync 0;
        """;

    private static string Wait(int parity) => $$"""
        { .reg .pred done;
        WAIT: mbarrier.try_wait.parity.shared::cta.b64 done, [%r20], {{parity}};
        @!done bra WAIT; }
        """;

    private const string Store = $" {PtxKernels.ResultAddress} st.global.u32 [%rd63], %r1;";

    [Test]
    public void PhasesAlternate([Values(0, 1, 2)] int seed)
    {
        // Two rounds: everybody arrives after warp 0 has handed over one number, and again after warp 2 has handed over another.
        uint[] result = PtxKernels.Run<uint>(Declare + Initialise.Replace("COUNT", "96", StringComparison.Ordinal) + $$"""
            setp.lt.u32 %p1, %thread, 32;
            @%p1 st.shared.u32 [cell], 5;
            mbarrier.arrive.shared::cta.b64 %rd10, [%r20];
            {{Wait(0)}}
            ld.shared.u32 %r2, [cell];
            setp.ge.u32 %p1, %thread, 64;
            @%p1 st.shared.u32 [cell+4], 7;
            mbarrier.arrive.release.cta.shared::cta.b64 _, [%r20];
            {{Wait(1)}}
            ld.shared.u32 %r3, [cell+4];
            mad.lo.u32 %r1, %r2, 10, %r3;
            """ + Store, 96, seed: seed);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 57U }));
    }

    [Test]
    public void AFreshBarrierHasTheOddPhaseBehindIt()
    {
        uint[] result = PtxKernels.Run<uint>(Declare + Initialise.Replace("COUNT", "1", StringComparison.Ordinal) + """
            mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r20], 1;
            mbarrier.test_wait.parity.shared::cta.b64 %p2, [%r20], 0;
            selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; add.u32 %r1, %r1, %r2;
            """ + Store, 32);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 1U }));
    }

    [Test]
    public void BytesMustArriveAsWell()
    {
        uint[] result = PtxKernels.Run<uint>(Declare + Initialise.Replace("COUNT", "1", StringComparison.Ordinal) + """
            @%p7 mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r20], 64;
            bar.sync 0;
            mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r20], 0;
            selp.u32 %r1, 1, 0, %p1;
            bar.sync 0;
            @%p7 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r20], 64;
            bar.sync 0;
            mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r20], 0;
            selp.u32 %r2, 2, 0, %p1; add.u32 %r1, %r1, %r2;
            """ + Store, 64);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 2U }));
    }

    [Test]
    public void AThreadArrivesWhenItsCopiesAreThere()
    {
        var gpu = new EmulatedGpu();
        ulong input = gpu.Allocate<uint>(Enumerable.Range(0, 128).Select(i => (uint)i).ToArray());
        ulong output = gpu.Allocate(128);
        PtxKernels.Launch(gpu, PtxKernels.Parse(Declare + Initialise.Replace("COUNT", "32", StringComparison.Ordinal) + $$"""
            mov.u32 %r2, cell; mad.lo.u32 %r2, %lane, 16, %r2; mad.wide.u32 %rd1, %lane, 16, %a;
            cp.async.cg.shared.global [%r2], [%rd1], 16;
            cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r20];
            {{Wait(0)}}
            ld.shared.u32 %r10, [%r2+8];
            mad.wide.u32 %rd2, %lane, 4, %b; st.global.u32 [%rd2], %r10;
            """, 2), 32, 0, input, output);
        var result = new uint[32];
        gpu.Read(output, result.AsSpan());
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(i => (uint)(4 * i + 2))));
    }

    [TestCase("mbarrier.arrive.shared::cta.b64 _, [%r20+8];", "no initialised barrier")]
    [TestCase("mbarrier.arrive.shared::cta.b64 _, [%r20], 6;", "arrivals where")]
    [TestCase("st.shared.u32 [bar], 0; mbarrier.arrive.shared::cta.b64 _, [%r20];", "overwritten")]
    [TestCase("mbarrier.init.shared::cta.b64 [%r20], 1;", "already")]
    [TestCase("mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r20], 2;", "parity")]
    [TestCase("WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r20], 0; @!%p1 bra WAIT;", "deadlock")]
    public void MisuseFaults(string body, string expected) => Assert.That(
        () => PtxKernels.Run<uint>(Declare + Initialise.Replace("COUNT", "5", StringComparison.Ordinal) + body, 32),
        Throws.TypeOf<PtxFault>().With.Message.Contains(expected));

    [Test]
    public void DeadlocksShowTheBarriers() => Assert.That(
        () => PtxKernels.Run<uint>(Declare + Initialise.Replace("COUNT", "5", StringComparison.Ordinal) + Wait(0), 32),
        Throws.TypeOf<PtxFault>().With.Message.Contains("phase 0, 5 of 5 arrivals and 0 bytes pending"));
}
