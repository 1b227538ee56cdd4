namespace KernelEngine.Tests.Devices.Ptx;

/// <summary>What templates of inline code unroll to.</summary>
[TestFixture]
public sealed class PtxTemplateTests
{
    [TestCase("$for i 0 3\nmov r$(i), $(2*i+1);\n$end", "mov r0, 1;|mov r1, 3;|mov r2, 5;")]
    [TestCase("$for i 0 2\n$for j i 2\nadd $(i), $(j);\n$end\n$end", "add 0, 0;|add 0, 1;|add 1, 1;")]
    [TestCase("$for i 0 0\n$for j 0 2\nadd;\n$end\n$end\nend;", "end;")]
    [TestCase("$let N 4\n$let HALF N/2\nx $(HALF);", "x 2;")]
    [TestCase("$let T $pick(1,bf16,f16)\nmma.$(T).$(T);", "mma.bf16.bf16;")]
    [TestCase("$let A B\n$let B 3\nx $(A);", "x B;")]
    [TestCase("x {$list(acc,4*2,4)};", "x {acc8, acc9, acc10, acc11};")]
    [TestCase("$if 2 > 1\nyes;\n$else\nno;\n$end", "yes;")]
    [TestCase("$if 0\n$for i 0 2\nyes;\n$end\n$else\nno;\n$end", "no;")]
    [TestCase("x $pick(0,$(1+1),$(2*2));", "x 4;")]
    [TestCase("ld.param.b64 r, [$(PARAMETERS)+8];", "ld.param.b64 r, [args+8];")]
    [TestCase("mov.b32 %r3, 7;\n$let D %r3\nx $(D+1);", "mov.b32 %r3, 7;|x 8;")]
    public void Unrolls(string template, string expected)
    {
        string[] lines = PtxTemplate.Expand(template, "args").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(string.Join('|', lines), Is.EqualTo(expected));
    }

    [TestCase("$for i 0\n$end", "bounds")]
    [TestCase("$for i 0 2\nx;", "no $end")]
    [TestCase("$end", "no beginning")]
    [TestCase("x $(UNKNOWN);", "UNKNOWN")]
    [TestCase("x $(1+;", "parenthesis")]
    [TestCase("x $list(a,1);", "three parts")]
    [TestCase("$let N", "needs a name")]
    [TestCase("mov.b32 %r3, 7;\nmov.b32 %r3, 8;\n$let D %r3\nx $(D);", "%r3")]
    [TestCase("mov.b32 %r3, 7;\nmov.b32 %r3, %r4;\n$let D %r3\nx $(D);", "%r3")]
    public void RefusesWithAReason(string template, string reason) =>
        Assert.That(() => PtxTemplate.Expand(template, "args"), Throws.InvalidOperationException.With.Message.Contains(reason));

    [TestCase("1+2*3", 7)]
    [TestCase("(1+2)*3", 9)]
    [TestCase("7/2", 3)]
    [TestCase("-3+5", 2)]
    [TestCase("5&3|8", 9)]
    [TestCase("6^3", 5)]
    [TestCase("1<<4>>2", 4)]
    [TestCase("2<3 && 3<=3 && 4>3 && 4>=4", 1)]
    [TestCase("2==3 || 2!=3", 1)]
    [TestCase("!0", 1)]
    [TestCase("0x4000004000010000", 0x4000004000010000)]
    [TestCase("X*2+%r1", 25)]
    public void Evaluates(string expression, long expected) => Assert.That(
        PtxExpression.Evaluate(expression, new Dictionary<string, string> { ["X"] = "10", ["%r1"] = "5" }), Is.EqualTo(expected));

    [TestCase("1/0")]
    [TestCase("")]
    [TestCase("1 2")]
    [TestCase("(1")]
    [TestCase("1+")]
    public void RefusesExpressions(string expression) =>
        Assert.That(() => PtxExpression.Evaluate(expression, new Dictionary<string, string>()), Throws.InvalidOperationException);
}
