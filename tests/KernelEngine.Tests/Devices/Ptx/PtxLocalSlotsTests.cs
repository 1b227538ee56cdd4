namespace KernelEngine.Tests.Devices.Ptx;

/// <summary>Slots of local memory that become registers, and what cannot.</summary>
[TestFixture]
public sealed class PtxLocalSlotsTests
{
    [Test]
    public void LoadsAndStoresBecomeMoves()
    {
        string text = PtxLocalSlots.Promote(Kernel("""
            	.local .align 4 .b8 __local_depot0[4];
            	.local .align 8 .b8 __local_depot1[16];
            	mov.b64	%rd3, __local_depot0;
            	mov.b64	%rd4, __local_depot1;
            	st.local.f32	[%rd3], 0f00000000;
            	@%p1 st.local.b64	[%rd4+8], %rd9;
            	ld.local.f32	%f3, [%rd3];
            	@!%p2 ld.local.b64	%rd8, [%rd4+8];
            	mov.b64	%rd33, %rd30;
            """));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(text, Does.Not.Contain("local"));
            Assert.That(text, Does.Contain("mov.b32\t%slot_0_0, 0f00000000;"));
            Assert.That(text, Does.Contain("mov.b32\t%f3, %slot_0_0;"));
            Assert.That(text, Does.Contain("@%p1 mov.b64\t%slot_1_8, %rd9;"));
            Assert.That(text, Does.Contain("@!%p2 mov.b64\t%rd8, %slot_1_8;"));
            Assert.That(text, Does.Contain("mov.b64\t%rd33, %rd30;"));
            Assert.That(text.IndexOf(".reg .b32\t%slot_0_0;", StringComparison.Ordinal), Is.GreaterThan(text.IndexOf(".entry", StringComparison.Ordinal)));
        }
    }

    [TestCase("add.s64\t%rd5, %rd3, 4;", Description = "an address of which more is computed")]
    [TestCase("ld.local.v2.f32\t{%f1, %f2}, [%rd3];", Description = "two at once")]
    [TestCase("call f, (%rd3);", Description = "an address that goes elsewhere")]
    public void RefusesWhatStaysInMemory(string use) => Assert.That(
        () => PtxLocalSlots.Promote(Kernel($"\t.local .align 4 .b8 __local_depot0[8];\n\tmov.b64\t%rd3, __local_depot0;\n\t{use}\n")),
        Throws.InvalidOperationException.With.Message.Contains("local memory"));

    [Test]
    public void RefusesASlotOfTwoWidths() => Assert.That(
        () => PtxLocalSlots.Promote(Kernel(
            "\tmov.b64\t%rd3, __local_depot0;\n\tst.local.b32\t[%rd3], %r1;\n\tld.local.b64\t%rd1, [%rd3];\n")),
        Throws.InvalidOperationException.With.Message.Contains("%slot_0_0"));

    [Test]
    public void RefusesSlotsThatOverlap() => Assert.That(
        () => PtxLocalSlots.Promote(Kernel(
            "\tmov.b64\t%rd3, __local_depot0;\n\tst.local.b64\t[%rd3], %rd1;\n\tld.local.b32\t%r1, [%rd3+4];\n")),
        Throws.InvalidOperationException.With.Message.Contains("overlap"));

    [Test]
    public void LeavesOtherTextAlone() => Assert.That(PtxLocalSlots.Promote(Kernel("\tret;\n")), Is.EqualTo(Kernel("\tret;\n")));

    [Test]
    public void HeaderIsRaised()
    {
        string text = PtxHeader.Raise(Kernel("\tret;\n"), PtxTarget.Sm90a, hasDynamicShared: true);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(text, Does.Contain($".version {PtxTarget.IsaVersion}\n.target sm_90a\n.address_size 64\n"));
            Assert.That(text, Does.Contain($".extern .shared .align 1024 .b8 {PtxHeader.DynamicShared}[];"));
            Assert.That(text, Does.Contain(".param .align 64 .b8 _p_1[32]"));
            Assert.That(PtxHeader.Rename(text, "Test_Tile64"), Is.EqualTo(text.Replace("Kernel_Test", "Test_Tile64", StringComparison.Ordinal)));
            Assert.That(PtxHeader.ParameterName(text), Is.EqualTo("_p_1"));
        }
    }

    [TestCase("sm_80", 75, false)]
    [TestCase("sm_80", 80, true)]
    [TestCase("sm_80", 90, true)]
    [TestCase("sm_90a", 80, false)]
    [TestCase("sm_90a", 90, true)]
    [TestCase("sm_90a", 100, false)]
    public void TargetsRunWhereTheyCan(string name, int capability, bool expected) =>
        Assert.That((name == "sm_80" ? PtxTarget.Sm80 : PtxTarget.Sm90a).RunsOn(capability), Is.EqualTo(expected));

    private static string Kernel(string body) =>
        ".version 8.0\n.target sm_80\n.address_size 64\n\n.visible .entry Kernel_Test(\n\t.param .align 8 .b8 _p_1[32]\n)\n{\n" + body.ReplaceLineEndings("\n") + "}\n";
}
