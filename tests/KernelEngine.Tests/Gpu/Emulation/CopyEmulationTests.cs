namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>cp.async: bytes must not be seen before they are waited for.</summary>
[TestFixture]
public sealed class CopyEmulationTests
{
    private const string Start = """
        .shared .align 128 .b8 tile[4096];
        mov.u32 %r1, tile;
        mad.lo.u32 %r2, %lane, 16, %r1;
        mad.wide.u32 %rd1, %lane, 16, %a;
        """;

    private const string Finish = "mad.wide.u32 %rd2, %lane, 4, %b; st.global.u32 [%rd2], %r10;";

    // Two groups: the first is there when at most one may be missing, the second only at the end.
    [TestCase("cp.async.wait_group 1;", 0, true)]
    [TestCase("cp.async.wait_group 1;", 512, false)]
    [TestCase("cp.async.wait_group 0;", 512, true)]
    [TestCase("cp.async.wait_all;", 512, true)]
    [TestCase("", 0, false)]
    public void BytesArriveWhenTheirGroupIsWaitedFor(string wait, int offset, bool isThere)
    {
        uint[] result = Run($"""
            {Start}
            cp.async.cg.shared.global.L2::128B [%r2], [%rd1], 16;
            cp.async.commit_group;
            cp.async.ca.shared::cta.global [%r2+512], [%rd1], 16;
            cp.async.commit_group;
            {wait}
            ld.shared.u32 %r10, [%r2+{offset}+4];
            {Finish}
            """);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(lane => isThere ? (uint)(4 * lane + 1) : uint.MaxValue)));
    }

    [Test]
    public void CopiesWithoutAGroupAreNotCoveredByIt()
    {
        uint[] result = Run($"""
            {Start}
            cp.async.ca.shared.global [%r2], [%rd1], 16;
            cp.async.wait_group 0;
            ld.shared.u32 %r10, [%r2];
            {Finish}
            """);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { uint.MaxValue }));
    }

    [Test]
    public void WhatIsNotCopiedIsZero()
    {
        uint[] result = Run($$"""
            {{Start}}
            setp.lt.u32 %p1, %lane, 30; selp.u32 %r5, 8, 0, %p1;
            @!%p1 mov.u64 %rd1, 0;
            cp.async.cg.shared.global [%r2], [%rd1], 16, %r5;
            cp.async.commit_group; cp.async.wait_group 0;
            ld.shared.v4.u32 {%r6, %r7, %r8, %r9}, [%r2];
            shl.b32 %r7, %r7, 16; or.b32 %r10, %r6, %r7; or.b32 %r10, %r10, %r8; or.b32 %r10, %r10, %r9;
            {{Finish}}
            """);
        Assert.That(result, Is.EqualTo(Enumerable.Range(0, 32).Select(lane => lane < 30 ? (uint)(4 * lane | 4 * lane + 1 << 16) : 0)));
    }

    [Test]
    public void TheDestinationIsGoneAsSoonAsTheCopyStarts()
    {
        uint[] result = Run($"""
            {Start}
            st.shared.u32 [%r2], 7;
            cp.async.ca.shared.global [%r2], [%rd1], 4;
            ld.shared.u32 %r10, [%r2];
            {Finish}
            """);
        Assert.That(result.Distinct(), Is.EqualTo(new[] { uint.MaxValue }));
    }

    [TestCase("cp.async.ca.shared.global [%r2+4], [%rd1], 16;", "multiple of 16")]
    [TestCase("cp.async.ca.shared.global [%r2], [%rd1+512], 16;", "allocation")]
    [TestCase("cp.async.ca.shared.global [%r2+4096], [%rd1], 16;", "shared memory")]
    public void WrongPlacesFault(string copy, string expected) =>
        Assert.That(() => Run($"{Start} {copy}"), Throws.TypeOf<PtxFault>().With.Message.Contains(expected));

    private static uint[] Run(string body)
    {
        var gpu = new EmulatedGpu();
        ulong input = gpu.Allocate<uint>(Enumerable.Range(0, 128).Select(i => (uint)i).ToArray());
        ulong output = gpu.Allocate(128);
        PtxKernels.Launch(gpu, PtxKernels.Parse(body, 2), 32, 0, input, output);
        var result = new uint[32];
        gpu.Read(output, result.AsSpan());
        return result;
    }
}
