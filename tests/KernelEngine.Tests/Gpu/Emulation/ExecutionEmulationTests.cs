namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Divergence, barriers, memory, and the faults that should be noticed.</summary>
[TestFixture]
public sealed class ExecutionEmulationTests
{
    private const string Store = $" {PtxKernels.ResultAddress} st.global.u32 [%rd63], %r1;";

    [Test]
    public void LanesPartAndMeetAgain()
    {
        // Each lane loops as often as its number says, then all meet for a ballot.
        uint[] result = PtxKernels.Run<uint>("""
            mov.u32 %r1, 0; mov.u32 %r2, 0;
            LOOP:
            setp.ge.u32 %p1, %r2, %lane;
            @%p1 bra DONE;
            add.u32 %r1, %r1, %r2;
            add.u32 %r2, %r2, 1;
            bra.uni LOOP;
            DONE:
            setp.gt.u32 %p2, %r1, 100;
            vote.sync.ballot.b32 %r3, %p2, 0xFFFFFFFF;
            xor.b32 %r1, %r1, %r3;
            """ + Store, 32);
        uint ballot = 0;
        for (int lane = 0; lane < 32; lane++)
            ballot |= lane * (lane - 1) / 2 > 100 ? 1U << lane : 0;
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(lane => (uint)(lane * (lane - 1) / 2) ^ ballot)));
    }

    [Test]
    public void InnerScopesHideNamesAndLabels()
    {
        uint[] result = PtxKernels.Run<uint>("""
            mov.u32 %r1, 5;
            { .reg .b32 x, y; mov.u32 x, 1; bra.uni SKIP; mov.u32 x, 100; SKIP: add.u32 %r1, %r1, x; }
            { .reg .b32 x, y; mov.u32 x, 2; bra.uni SKIP; mov.u32 x, 100; SKIP: add.u32 %r1, %r1, x; } // again
            /* and a comment */
            """ + Store, 32);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 8U }));
    }

    [TestCase("shfl.sync.idx.b32 %r1|%p1, %lane, 3, 31, -1;", "lane => 3")]
    [TestCase("shfl.sync.up.b32 %r1, %lane, 1, 0, -1;", "lane => max(lane - 1, 0)")]
    [TestCase("shfl.sync.down.b32 %r1, %lane, 4, 31, -1;", "lane => lane < 28 ? lane + 4 : lane")]
    [TestCase("shfl.sync.bfly.b32 %r1, %lane, 5, 31, -1;", "lane => lane ^ 5")]
    [TestCase("shfl.sync.bfly.b32 %r1, %lane, 1, 0x1C1F, -1;", "lane => lane ^ 1")]
    [TestCase("redux.sync.max.u32 %r1, %lane, -1;", "lane => 31")]
    [TestCase("elect.sync %r1|%p1, -1; selp.u32 %r1, 7, 9, %p1;", "lane => lane == 0 ? 7 : 9")]
    [TestCase("setp.gt.u32 %p1, %lane, 30; vote.sync.any.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2;", "lane => 1")]
    public void LanesExchange(string body, string expected)
    {
        uint[] result = PtxKernels.Run<uint>(body + Store, 32);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(lane => (uint)(expected switch
        {
            "lane => 3" => 3,
            "lane => max(lane - 1, 0)" => Math.Max(lane - 1, 0),
            "lane => lane < 28 ? lane + 4 : lane" => lane < 28 ? lane + 4 : lane,
            "lane => lane ^ 5" => lane ^ 5,
            "lane => lane ^ 1" => lane ^ 1,
            "lane => 31" => 31,
            "lane => lane == 0 ? 7 : 9" => lane == 0 ? 7 : 9,
            _ => 1,
        }))));
    }

    [Test]
    public void HalvesOfAWarpShuffleAmongThemselves()
    {
        uint[] result = PtxKernels.Run<uint>("""
            setp.lt.u32 %p1, %lane, 16;
            selp.b32 %r2, 0x0000FFFF, 0xFFFF0000, %p1;
            shfl.sync.bfly.b32 %r1, %lane, 15, 31, %r2;
            """ + Store, 32);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(lane => (uint)lane ^ 15)));
    }

    [Test]
    public void BlocksShareMemoryAcrossABarrier([Values(0, 1, 2)] int seed)
    {
        // Every thread reads what the thread opposite wrote.
        uint[] result = PtxKernels.Run<uint>("""
            .shared .align 16 .b8 tile[1024];
            mov.u32 %r2, tile;
            mad.lo.u32 %r3, %thread, 4, %r2;
            mul.lo.u32 %r4, %thread, 3;
            st.shared.u32 [%r3], %r4;
            bar.sync 0;
            sub.u32 %r5, 255, %thread;
            mad.lo.u32 %r6, %r5, 4, %r2;
            ld.shared.u32 %r1, [%r6];
            """ + Store, 256, seed: seed);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 256).Select(i => (uint)(255 - i) * 3)));
    }

    [Test]
    public void ProducersArriveAndConsumersWait([Values(0, 1, 2)] int seed)
    {
        uint[] result = PtxKernels.Run<uint>("""
            .shared .align 4 .b8 cell[4];
            setp.ge.u32 %p1, %thread, 32;
            @%p1 bra CONSUMER;
            mov.u32 %r1, 42;
            st.shared.u32 [cell], %r1;
            bar.arrive 3, 96;
            bra.uni END;
            CONSUMER:
            bar.sync 3, 96;
            ld.shared.u32 %r1, [cell];
            END:
            """ + Store, 96, seed: seed);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 42U }));
    }

    [Test]
    public void VectorsMoveBetweenMemories()
    {
        float[] result = PtxKernels.Run<float>("""
            cvt.rn.f32.u32 %f1, %thread;
            add.f32 %f2, %f1, 0.5;
            mul.wide.u32 %rd1, %thread, 16;
            mov.u64 %rd2, tile;
            add.u64 %rd2, %rd2, %rd1;
            cvta.shared.u64 %rd3, %rd2;
            st.shared.v4.f32 [%rd2], {%f1, %f2, 0f3F800000, %f1};
            ld.v2.f32 {%f3, %f4}, [%rd3];
            add.f32 %f5, %f3, %f4;
            mov.b32 %r1, %f5;
            """ + Store, 64, ".extern .shared .align 1024 .b8 tile[];", dynamicSharedBytes: 1024);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 64).Select(i => 2 * i + 0.5f)));
    }

    [Test]
    public void AtomicsAddUp()
    {
        uint[] result = PtxKernels.Run<uint>("""
            .shared .align 4 .b8 cell[4];
            setp.eq.u32 %p1, %thread, 0;
            @%p1 st.shared.u32 [cell], 0;
            bar.sync 0;
            atom.shared.add.u32 %r2, [cell], %thread;
            red.shared.max.u32 [cell], 1;
            bar.sync 0;
            ld.shared.u32 %r1, [cell];
            """ + Store, 128);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { 127U * 64 }));
    }

    [Test]
    public void LocalMemoryBelongsToAThread()
    {
        uint[] result = PtxKernels.Run<uint>("""
            .local .align 8 .b8 slot[16];
            mov.b64 %rd1, slot;
            st.local.u32 [%rd1+8], %thread;
            bar.sync 0;
            ld.local.u32 %r1, [%rd1+8];
            """ + Store, 64);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 64).Select(i => (uint)i)));
    }

    [TestCase("ld.global.u32 %r1, [%a+256];", "allocation")]
    [TestCase("ld.global.u32 %r1, [%a+-4];", "allocation")]
    [TestCase("ld.global.u32 %r1, [%a+2];", "multiple of 4")]
    [TestCase("mov.u64 %rd1, 0; ld.global.u32 %r1, [%rd1];", "no allocation")]
    [TestCase("mov.u32 %r2, 0; ld.shared.u32 %r1, [%r2];", "shared memory")]
    [TestCase("add.u32 %r1, %r2, 1;", "%r2, which was never written")]
    [TestCase("@%p5 mov.u32 %r1, 1;", "predicate never written")]
    [TestCase("setp.lt.u32 %p1, %lane, 4; @%p1 mov.u32 %r2, 1; add.u32 %r1, %r2, 1;", "%r2, which was never written")]
    [TestCase("trap;", "gave up")]
    [TestCase("setp.lt.u32 %p1, %lane, 4; @%p1 ret; shfl.sync.idx.b32 %r1, %lane, 0, 31, -1;", "have exited")]
    [TestCase("shfl.sync.idx.b32 %r1, %lane, 0, 31, 0xFFFFFFF0;", "no member")]
    public void FaultsNameTheirPlace(string body, string expected)
    {
        PtxFault fault = Assert.Throws<PtxFault>(() => PtxKernels.Run<uint>($"\n{body}", 64))!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(fault.Message, Does.Contain(expected));
            Assert.That(fault.Line, Is.EqualTo(11));
        }
    }

    [Test]
    public void DeadlocksTellWhereEveryWarpIs()
    {
        PtxFault fault = Assert.Throws<PtxFault>(() => PtxKernels.Run<uint>("""
            setp.lt.u32 %p1, %thread, 32;
            @%p1 bra FIRST;
            bar.sync 1, 64;
            ret;
            FIRST:
            bar.sync 2, 64;
            """, 64))!;
        Assert.That(fault.Message, Does.Contain("deadlock").And.Contain("warp 0 (waits at barrier 2)").And.Contain("warp 1 (waits at barrier 1)"));
    }

    [Test]
    public void CollectivesOfAPartedWarpAreADeadlock()
    {
        PtxFault fault = Assert.Throws<PtxFault>(() => PtxKernels.Run<uint>("""
            setp.lt.u32 %p1, %lane, 16;
            @%p1 bra FIRST;
            shfl.sync.idx.b32 %r1, %lane, 16, 31, -1;
            ret;
            FIRST:
            shfl.sync.idx.b32 %r1, %lane, 0, 31, -1;
            """, 32))!;
        Assert.That(fault.Message, Does.Contain("deadlock").Or.Contain("have exited"));
    }

    [Test]
    public void EndlessLoopsEnd()
    {
        var gpu = new EmulatedGpu { InstructionBudget = 1000 };
        Assert.That(() => PtxKernels.Launch(gpu, PtxKernels.Parse("L: bra L;", 0), 32, 0), Throws.TypeOf<PtxFault>().With.Message.Contains("endless"));
    }

    [Test]
    public void OpcodesAreCounted()
    {
        var gpu = new EmulatedGpu();
        LaunchStatistics statistics = PtxKernels.Launch(gpu, PtxKernels.Parse("add.u32 %r1, %thread, 1; add.u32 %r1, %r1, 1;", 0), 64, 0);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(statistics.Counts["add.u32"], Is.EqualTo(4));
            Assert.That(statistics.CountOf("mov"), Is.EqualTo(4));
        }
    }

    // A column of a tile whose rows are 128 bytes long meets one bank only; a row of padding or a shift of each row spreads it.
    [TestCase("mul.lo.u32 %r2, %lane, 128;", 31)]
    [TestCase("mul.lo.u32 %r2, %lane, 132;", 0)]
    [TestCase("shl.b32 %r2, %lane, 3;", 1)]
    [TestCase("mov.u32 %r2, 64;", 0)]
    public void BankConflictsAreCounted(string address, int expected)
    {
        var gpu = new EmulatedGpu();
        PtxProgram program = PtxKernels.Parse(
            $".shared .align 128 .b8 tile[8192]; {address} mov.u32 %r3, tile; add.u32 %r3, %r3, %r2; ld.shared.u32 %r1, [%r3];", 0);
        Assert.That(PtxKernels.Launch(gpu, program, 32, 0).BankConflicts, Is.EqualTo(expected));
    }

    // Quarters of a warp load 16 bytes a lane: rows of 64 bytes meet in every second row, a shift by the row's bits parts them.
    [TestCase("shl.b32 %r2, %lane, 4;", 0)]
    [TestCase("shl.b32 %r2, %lane, 6;", 12)]
    public void WideLoadsAreServedByQuarters(string address, int expected)
    {
        var gpu = new EmulatedGpu();
        PtxProgram program = PtxKernels.Parse(
            $".shared .align 128 .b8 tile[8192]; {address} mov.u32 %r3, tile; add.u32 %r3, %r3, %r2; ld.shared.v4.f32 {{%f1, %f2, %f3, %f4}}, [%r3];", 0);
        Assert.That(PtxKernels.Launch(gpu, program, 32, 0).BankConflicts, Is.EqualTo(expected));
    }
}
