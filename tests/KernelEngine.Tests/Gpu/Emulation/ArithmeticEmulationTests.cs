namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Instructions of one lane against values worked out by hand.</summary>
[TestFixture]
public sealed class ArithmeticEmulationTests
{
    [TestCase("add.s32 %r1, 2147483647, 1;", 0x8000_0000U)]
    [TestCase("sub.u32 %r1, 1, 2;", 0xFFFF_FFFFU)]
    [TestCase("mul.lo.s32 %r1, -7, 6;", 0xFFFF_FFD6U)]
    [TestCase("mul.hi.u32 %r1, 0xFFFFFFFF, 0xFFFFFFFF;", 0xFFFF_FFFEU)]
    [TestCase("mul.hi.s32 %r1, -1, 5;", 0xFFFF_FFFFU)]
    [TestCase("mad.lo.s32 %r1, 3, 4, -13;", 0xFFFF_FFFFU)]
    [TestCase("div.s32 %r1, -7, 2;", 0xFFFF_FFFDU)]
    [TestCase("div.s32 %r1, -2147483648, -1;", 0x8000_0000U)]
    [TestCase("rem.s32 %r1, -7, 2;", 0xFFFF_FFFFU)]
    [TestCase("rem.u32 %r1, 0xFFFFFFFF, 10;", 5U)]
    [TestCase("shl.b32 %r1, 1, 32;", 0U)]
    [TestCase("shr.s32 %r1, -8, 40;", 0xFFFF_FFFFU)]
    [TestCase("shr.u32 %r1, 0x80000000, 31;", 1U)]
    [TestCase("abs.s32 %r1, -5;", 5U)]
    [TestCase("neg.s32 %r1, 5;", 0xFFFF_FFFBU)]
    [TestCase("min.s32 %r1, -1, 1;", 0xFFFF_FFFFU)]
    [TestCase("min.u32 %r1, -1, 1;", 1U)]
    [TestCase("not.b32 %r1, 0x0F0F0F0F;", 0xF0F0_F0F0U)]
    [TestCase("popc.b32 %r1, 0xF00F;", 8U)]
    [TestCase("clz.b32 %r1, 0x00010000;", 15U)]
    [TestCase("brev.b32 %r1, 1;", 0x8000_0000U)]
    [TestCase("bfe.u32 %r1, 0x12345678, 8, 8;", 0x56U)]
    [TestCase("bfe.s32 %r1, 0x0000F000, 12, 4;", 0xFFFF_FFFFU)]
    [TestCase("bfi.b32 %r1, 0xAB, 0x11111111, 8, 8;", 0x1111_AB11U)]
    [TestCase("prmt.b32 %r1, 0x33221100, 0x77665544, 0x7410;", 0x7744_1100U)]
    [TestCase("prmt.b32 %r1, 0x000080FF, 0, 0x9889;", 0xFFFF_FFFFU)]
    [TestCase("lop3.b32 %r1, 0xF0, 0xCC, 0xAA, 0x96;", 0x96U)]
    [TestCase("shf.l.wrap.b32 %r1, 0x80000000, 1, 4;", 0x18U)]
    [TestCase("shf.r.clamp.b32 %r1, 0x1, 0xABCD, 40;", 0xABCDU)]
    [TestCase("mul.wide.s32 %rd1, -3, 5; cvt.u32.u64 %r1, %rd1;", 0xFFFF_FFF1U)]
    [TestCase("mad.wide.u32 %rd1, 0x10000, 0x10000, 7; shr.u64 %rd1, %rd1, 32; cvt.u32.u64 %r1, %rd1;", 1U)]
    [TestCase("selp.b32 %r1, 10, 20, 1;", 10U)]
    [TestCase("slct.s32.s32 %r1, 10, 20, -1;", 20U)]
    [TestCase("mov.b64 %rd1, {7, 9}; mov.b64 {%r2, %r1}, %rd1;", 9U)]
    [TestCase("mov.u32 %r1, 0x00800001; mov.b32 {%h1, %h2}, %r1; mov.b32 %r1, {%h2, %h1};", 0x0001_0080U)]
    public void Integers(string body, uint expected) => Assert.That(Result(body), Is.EqualTo(expected));

    [TestCase("add.f32 %f1, 0f3F800000, 1.5;", 2.5f)]
    [TestCase("fma.rn.f32 %f1, 3.0, 4.0, 5.0;", 17f)]
    [TestCase("div.rn.f32 %f1, 1.0, 3.0;", 1f / 3)]
    [TestCase("max.f32 %f1, 0f7FC00000, -2.0;", -2f)]
    [TestCase("max.NaN.f32 %f1, 0f7FC00000, -2.0;", float.NaN)]
    [TestCase("min.f32 %f1, 0f80000000, 0.0;", -0f)]
    [TestCase("ex2.approx.ftz.f32 %f1, 0fFF800000;", 0f)]
    [TestCase("ex2.approx.f32 %f1, 3.0;", 8f)]
    [TestCase("lg2.approx.f32 %f1, 8.0;", 3f)]
    [TestCase("rcp.approx.ftz.f32 %f1, 4.0;", 0.25f)]
    [TestCase("rsqrt.approx.f32 %f1, 16.0;", 0.25f)]
    [TestCase("add.ftz.f32 %f1, 0f00000001, 0f00000001;", 0f)]
    [TestCase("mul.sat.f32 %f1, 2.0, 2.0;", 1f)]
    [TestCase("neg.f32 %f1, 2.0;", -2f)]
    [TestCase("cvt.rn.f32.s32 %f1, -3;", -3f)]
    [TestCase("cvt.rmi.f32.f32 %f1, -1.5;", -2f)]
    [TestCase("mov.u16 %h1, 0x3C00; cvt.f32.f16 %f1, %h1;", 1f)]
    [TestCase("mov.u16 %h1, 0x3FC0; cvt.f32.bf16 %f1, %h1;", 1.5f)]
    public void Floats(string body, float expected) =>
        Assert.That(BitConverter.UInt32BitsToSingle(Result($"{body} mov.b32 %r1, %f1;")), Is.EqualTo(expected));

    [TestCase("cvt.rzi.s32.f32 %r1, -1.9;", 0xFFFF_FFFFU)]
    [TestCase("cvt.rni.s32.f32 %r1, 2.5;", 2U)]
    [TestCase("cvt.rzi.u32.f32 %r1, -5.0;", 0U)]
    [TestCase("cvt.rzi.s32.f32 %r1, 0f7FC00000;", 0U)]
    [TestCase("cvt.rzi.s32.f32 %r1, 3.0e10;", 0x7FFF_FFFFU)]
    [TestCase("cvt.s8.s32 %r1, 0x1FF;", 0xFFFF_FFFFU)]
    [TestCase("cvt.u8.u32 %r1, 0x1FF;", 0xFFU)]
    [TestCase("cvt.sat.u8.s32 %r1, 300;", 255U)]
    [TestCase("cvt.rn.bf16x2.f32 %r1, 1.0, -2.0;", 0x3F80_C000U)]
    [TestCase("cvt.rn.f16x2.f32 %r1, 1.0, -2.0;", 0x3C00_C000U)]
    [TestCase("cvt.rn.bf16.f32 %h1, 0f3F818000; cvt.u32.u16 %r1, %h1;", 0x3F82U)]
    [TestCase("cvt.rn.bf16.f32 %h1, 0f3F808000; cvt.u32.u16 %r1, %h1;", 0x3F80U)]
    [TestCase("mov.b32 %r2, 0x3F804000; mov.b32 %r3, 0x40004000; mul.bf16x2 %r1, %r2, %r3;", 0x4000_4080U)]
    [TestCase("mov.b32 %r2, 0x3F804000; mov.b32 %r3, 0x40004000; mov.b32 %r4, 0x3F803F80; fma.rn.bf16x2 %r1, %r2, %r3, %r4;", 0x4040_40A0U)]
    [TestCase("mov.b32 %r2, 0xBF804000; mov.b32 %r3, 0x3F803F80; max.bf16x2 %r1, %r2, %r3;", 0x3F80_4000U)]
    [TestCase("mov.b32 %r2, 0x3C004000; mov.b32 %r3, 0x40004000; mul.f16x2 %r1, %r2, %r3;", 0x4000_4400U)]
    [TestCase("mov.b32 %r2, 0x3C003C00; mov.b32 %r3, 0x3C00BC00; add.f16x2 %r1, %r2, %r3;", 0x4000_0000U)]
    public void Conversions(string body, uint expected) => Assert.That(Result(body), Is.EqualTo(expected));

    [TestCase("setp.lt.s32 %p1, -1, 1;", true)]
    [TestCase("setp.lt.u32 %p1, -1, 1;", false)]
    [TestCase("setp.lo.u32 %p1, 1, 2;", true)]
    [TestCase("setp.ne.f32 %p1, 0f7FC00000, 1.0;", false)]
    [TestCase("setp.neu.f32 %p1, 0f7FC00000, 1.0;", true)]
    [TestCase("setp.gt.f32 %p1, 0f7FC00000, 1.0;", false)]
    [TestCase("setp.leu.f32 %p1, 0f7FC00000, 1.0;", true)]
    [TestCase("setp.nan.f32 %p1, 0f7FC00000, 1.0;", true)]
    [TestCase("setp.eq.s32 %p2|%p1, 1, 2;", true)]
    [TestCase("setp.eq.s32 %p2, 1, 1; setp.lt.and.s32 %p1, 1, 2, !%p2;", false)]
    [TestCase("setp.eq.s32 %p2, 1, 1; not.pred %p3, %p2; or.pred %p1, %p2, %p3;", true)]
    [TestCase("testp.notanumber.f32 %p1, 0f7FC00000;", true)]
    public void Comparisons(string body, bool expected) =>
        Assert.That(Result($"{body} selp.u32 %r1, 1, 0, %p1;"), Is.EqualTo(expected ? 1U : 0U));

    [TestCase("add.s33 %r1, 1, 2;")]
    [TestCase("frobnicate.b32 %r1, %r2;")]
    [TestCase("add.s32 %r1, 1, %nosuch;")]
    [TestCase("add.rz.f32 %f1, %f1, %f1;")]
    [TestCase("bra NOWHERE;")]
    [TestCase("ld.global.v2.u32 {%r1}, [%a];")]
    public void WhatIsNotKnownNamesItsLine(string statement)
    {
        PtxSyntaxException error = Assert.Throws<PtxSyntaxException>(() => PtxKernels.Parse($"mov.u32 %r1, 1;\n{statement}\n"))!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(error.Line, Is.EqualTo(11));
            Assert.That(error.Message, Does.Contain(statement.Split(' ')[0]));
        }
    }

    private static uint Result(string body) =>
        PtxKernels.Run<uint>($"{{ {body} }} {PtxKernels.ResultAddress} st.global.u32 [%rd63], %r1;", 32).Distinct().Single();
}
