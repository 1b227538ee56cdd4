using System.Runtime.InteropServices;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Accesses to shared memory that no barrier orders are found in every order the warps may run.</summary>
[TestFixture]
public sealed class RaceEmulationTests
{
    // Warp 0 writes, warp 1 reads, or the other way round; %r1 is the address, %p1 is true in warp 0.
    private const string Start = """
        .shared .align 16 .b8 tile[256]; .shared .align 8 .b8 bar[16];
        mov.u32 %r1, tile; mov.u32 %r9, bar;
        mad.lo.u32 %r1, %lane, 4, %r1;
        setp.lt.u32 %p1, %thread, 32; setp.eq.u32 %p2, %thread, 0;
        @%p2 mbarrier.init.shared::cta.b64 [%r9], 32; @%p2 mbarrier.init.shared::cta.b64 [%r9+8], 1;
        @%p2 fence.mbarrier_init.release.cluster;
        bar.sync 0;
        """;

    private const string Write = "@%p1 st.shared.u32 [%r1], %lane;";
    private const string Read = "@!%p1 ld.shared.u32 %r2, [%r1];";
    private const string Wait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9], 0; @!%p3 bra WAIT;";

    [TestCase(Write + Read)]
    [TestCase(Read + Write)]
    [TestCase(Read + "bar.sync 1, 64;" + Read + Write)]
    [TestCase(Write + "@%p1 st.shared.u32 [%r1], 1; @!%p1 st.shared.u32 [%r1], 1;")]
    [TestCase(Write + "bar.warp.sync -1;" + Read)]
    [TestCase("@!%p1 bar.arrive 1, 64;" + Read + "@%p1 bar.sync 1, 64;" + Write)]
    [TestCase(Write + "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r9];" + Read)]
    [TestCase("@%p1 mbarrier.arrive.shared::cta.b64 _, [%r9];" + Write + Wait + Read)]
    [TestCase(Write + "mov.u64 %rd1, 0; @!%p1 atom.shared.add.u32 %r2, [%r1], 1;")]
    [TestCase("@%p1 cp.async.ca.shared.global [%r1], [%a], 4;" + "cp.async.wait_all;" + Read)]
    public void AreFound(string body) => Assert.That(Run(body), Throws.TypeOf<PtxFault>().With.Message.Contains("a race"));

    [TestCase(Write + "bar.sync 0;" + Read)]
    [TestCase(Write + Read, false)]
    [TestCase(Read + "bar.sync 1, 64;" + Write)]
    [TestCase(Write + "@%p1 bar.arrive 1, 64; @!%p1 bar.sync 1, 64;" + Read)]
    [TestCase(Write + "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r9];" + Wait + Read)]
    [TestCase("atom.shared.add.u32 %r2, [%r1], 1;")]
    [TestCase("@%p1 cp.async.ca.shared.global [%r1], [%a], 4;" + "cp.async.wait_all; bar.sync 0;" + Read)]
    [TestCase("@%p1 st.shared.u8 [%r1], 1; @!%p1 st.shared.u8 [%r1+1], 1; bar.sync 0; @%p1 ld.shared.u16 %h1, [%r1];")]
    public void AreNotSeenWhereThereAreNone(string body, bool detects = true) => Assert.That(Run(body, detects), Throws.Nothing);

    [Test]
    public void ABulkCopyMustNotOvertakeReaders([Values] bool waits)
    {
        // Warp 1 reads what is there; thread 0 lets a copy replace it, with or without waiting for warp 1.
        string body = $"""
            bar.sync 0;
            @!%p1 ld.shared.u32 %r2, [%r1];
            @!%p1 mbarrier.arrive.shared::cta.b64 _, [%r9];
            @!%p2 bra END;
            {(waits ? Wait : "")}
            mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r9+8], 128;
            cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%a], 128, [%r9+8];
            AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9+8], 0; @!%p3 bra AGAIN;
            END:
            """;
        Assert.That(Run(body), waits ? Throws.Nothing : Throws.TypeOf<PtxFault>().With.Message.Contains("a race"));
    }

    [Test]
    public void WhatABulkCopyWroteIsForThoseWhoAskedItsBarrier([Values] bool asks)
    {
        // Warp 0 sees the copy land. Warp 1 meets warp 0 before that at a barrier, and then asks the copy's barrier as well, or only waits long.
        string body = $"""
            @%p2 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r9+8], 128;
            @%p2 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%a], 128, [%r9+8];
            bar.sync 0;
            @!%p1 bra OTHER;
            AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9+8], 0; @!%p3 bra AGAIN;
            ret;
            OTHER:
            mov.u32 %r3, 0;
            LATER: add.u32 %r3, %r3, 1; setp.lt.u32 %p4, %r3, 2000; @%p4 bra LATER;
            {(asks ? "MORE: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r9+8], 0; @!%p3 bra MORE;" : "")}
            ld.shared.u32 %r2, [%r1];
            """;
        Assert.That(Run(body), asks ? Throws.Nothing : Throws.TypeOf<PtxFault>().With.Message.Contains("a bulk copy wrote"));
    }

    [Test]
    public void ABarrierMustBeInitialisedForEverybody() => Assert.That(
        () => PtxKernels.Run<uint>("""
            .shared .align 8 .b8 bar[8];
            setp.eq.u32 %p1, %thread, 0;
            @%p1 mbarrier.init.shared::cta.b64 [bar], 64;
            mbarrier.arrive.shared::cta.b64 _, [bar];
            """, 64),
        Throws.TypeOf<PtxFault>().With.Message.Contains("a race").Or.Message.Contains("no initialised barrier"));

    private static Action Run(string body, bool detects = true) => () =>
    {
        for (int seed = 0; seed < 3; seed++)
        {
            var gpu = new EmulatedGpu(seed) { DetectsRaces = detects };
            ulong input = gpu.Allocate(256);
            gpu.Launch(PtxKernels.Parse(Start + body), 1, 1, 1, 64, 0, MemoryMarshal.AsBytes<ulong>([input]));
        }
    };
}
