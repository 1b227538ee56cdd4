using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using KernelEngine.Tests.Gpu;

namespace KernelEngine.Tests.Devices.Ptx;

/// <summary>Lines of source in PTX, for profilers to show.</summary>
[TestFixture]
public sealed partial class PtxLinesTests
{
    private static readonly CudaEntry s_entry = new LinearMma().Entries.Cast<CudaEntry>().First();

    // Inline code with operands begins with them, and they have its line; without, it follows what the statement before it wrote.
    [TestCase("cp.async", "CudaAsm.Emit(CopyInput, ")]
    [TestCase("mma.sync", "if (column >= 0)\n                CudaAsm.Emit(Multiply);")]
    public void InstructionsHaveTheLineThatWroteThem(string instruction, string source)
    {
        string[] text = CompileWithLines().Split('\n');
        var files = text.Select(line => FileDirective().Match(line)).Where(m => m.Success)
            .ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value);
        int first = Array.FindIndex(text, line => line.Contains(instruction, StringComparison.Ordinal));
        Match line = LineDirective().Match(text[Array.FindLastIndex(text, first, l => LineDirective().IsMatch(l))]);
        string file = files[line.Groups[1].Value];
        Assert.That(Path.GetFileName(file), Is.EqualTo("MatrixTimesMatrixMma.cs"));
        string[] lines = File.ReadAllLines(file)[(int.Parse(line.Groups[2].Value, null) - 1)..];
        Assert.That(string.Join('\n', lines).Trim(), Does.StartWith(source));
    }

    [Test]
    public void LinesChangeNothingElse()
    {
        string with = CompileWithLines(), without = PtxCompiler.Compile(s_entry).Text;
        Assert.That(with, Does.Contain(".loc\t"));
        Assert.That(without, Does.Not.Contain(".loc\t"));
        Assert.That(Comparable(with), Is.EqualTo(Comparable(without)));
    }

    [Test]
    [Category("Ptxas")]
    public void TheAssemblerKeepsThem()
    {
        PtxAssembler.Require();
        Assert.That(PtxAssembler.Disassemble(CompileWithLines(), "sm_80"), Does.Match(@"//## File "".*MatrixTimesMatrixMma\.cs"", line \d+"));
    }

    private static string CompileWithLines([CallerFilePath] string source = "")
    {
        if (!File.Exists(source))
            Assert.Ignore("The source is not where it was built, and ILGPU reads it.");
        return PtxCompiler.Compile(s_entry, hasLines: true).Text;
    }

    // ILGPU numbers parameters and labels through, with what it reads for the lines.
    private static IEnumerable<string> Comparable(string text) =>
        text.Split('\n').Where(line => !NoInstruction().IsMatch(line)).Select(line => Number().Replace(line, ""));

    [GeneratedRegex("""^\s*\.file\s+(\d+)\s+"([^"]+)""")]
    private static partial Regex FileDirective();

    [GeneratedRegex(@"^\s*\.loc\s+(\d+)\s+(\d+)\s")]
    private static partial Regex LineDirective();

    [GeneratedRegex(@"^\s*(\.(loc|file)\s|$)")]
    private static partial Regex NoInstruction();

    [GeneratedRegex(@"(?<=\b(?:_p_|L_))\d+")]
    private static partial Regex Number();
}
