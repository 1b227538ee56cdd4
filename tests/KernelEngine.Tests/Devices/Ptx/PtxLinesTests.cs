using System.Text.RegularExpressions;
using KernelEngine.Tests.Gpu;

namespace KernelEngine.Tests.Devices.Ptx;

/// <summary>Lines of source in PTX, for profilers to show.</summary>
[TestFixture]
public sealed partial class PtxLinesTests
{
    private static readonly CudaEntry s_entry = new LinearMma().Entries.Cast<CudaEntry>().First();

    [Test]
    public void InstructionsHaveTheLineThatWroteThem()
    {
        string[] text = PtxCompiler.Compile(s_entry, hasLines: true).Text.Split('\n');
        var files = text.Select(line => FileDirective().Match(line)).Where(m => m.Success)
            .ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value);
        int product = Array.FindIndex(text, line => line.Contains("mma.sync", StringComparison.Ordinal));
        Match line = LineDirective().Match(text[Array.FindLastIndex(text, product, l => LineDirective().IsMatch(l))]);
        string file = files[line.Groups[1].Value];
        Assert.That(Path.GetFileName(file), Is.EqualTo("MatrixTimesMatrixMma.cs"));
        string source = Path.Combine(TestData.CheckoutRoot ?? "", "kernels", "Gpu", "Linear", Path.GetFileName(file));
        if (!File.Exists(source))
            Assert.Ignore("The tests run away from the checkout.");
        Assert.That(File.ReadAllLines(source)[int.Parse(line.Groups[2].Value, null) - 1].Trim(), Is.EqualTo("CudaAsm.Emit(Multiply);"));
    }

    [Test]
    public void LinesChangeNothingElse()
    {
        string with = PtxCompiler.Compile(s_entry, hasLines: true).Text, without = PtxCompiler.Compile(s_entry).Text;
        Assert.That(without, Does.Not.Contain(".loc"));
        Assert.That(Directive().Replace(with, "").Trim(), Is.EqualTo(without.Trim()));
    }

    [Test]
    [Category("Ptxas")]
    public void TheAssemblerKeepsThem()
    {
        PtxAssembler.Require();
        string text = PtxCompiler.Compile(s_entry, hasLines: true).Text;
        Assert.That(PtxAssembler.Disassemble(text, "sm_80"), Does.Match(@"//## File "".*MatrixTimesMatrixMma\.cs"", line \d+"));
    }

    [GeneratedRegex("""^\s*\.file\s+(\d+)\s+"([^"]+)""")]
    private static partial Regex FileDirective();

    [GeneratedRegex(@"^\s*\.loc\s+(\d+)\s+(\d+)\s")]
    private static partial Regex LineDirective();

    [GeneratedRegex(@"^\s*\.(loc|file)\s.*\n", RegexOptions.Multiline)]
    private static partial Regex Directive();
}
