using KernelEngine.Cli;

namespace KernelEngine.Tests.Cli;

public sealed class VerifyReportTests
{
    private static readonly VerifyOutcome Right = new(
        VerifyStatus.Right, "linear/x", "cuda", "m=1", Result: new VerificationResult("linear/x", "cuda", "m=1", 1, 0.5, 1, null));

    private static readonly VerifyOutcome Wrong = new(
        VerifyStatus.Wrong, "linear/x", "cuda", "m=2", OperandPlacement.Strided,
        new VerificationResult("linear/x", "cuda", "m=2", 1, 2, 1, "output[0] is 2"), "output[0] is 2");

    private static readonly VerifyOutcome NotCompiled = new(VerifyStatus.NotCompiled, "linear/y", "cuda", "m=3", Message: "ptxas said no");
    private static readonly VerifyOutcome Failed = new(VerifyStatus.Failed, "linear/y", "cuda", "m=4", Message: "illegal address");

    [Test]
    public void TellsAWrongResultFromAKernelThatDidNotRun()
    {
        using var output = new StringWriter();
        var report = new VerifyReport([Right, Wrong, NotCompiled, Failed]);
        report.WriteFailures(new Terminal(output, TextWriter.Null));
        string[] lines = output.ToString().TrimEnd().Split(Environment.NewLine);
        Assert.That(lines, Has.Length.EqualTo(4));
        Assert.That(lines[0], Does.StartWith("WRONG (Strided): linear/x on cuda: 'm=2' seed 1: output[0] is 2"));
        Assert.That(lines[1], Does.StartWith("NOT COMPILED (Contiguous): linear/y on cuda: 'm=3': ptxas said no"));
        Assert.That(lines[2], Does.StartWith("FAILED (Contiguous): linear/y on cuda: 'm=4': illegal address"));
        Assert.That(lines[3], Is.EqualTo("1 right, 1 wrong, 1 not compiled, 1 failed, 0 skipped; worst error 2.00 of what is allowed"));
    }

    [Test]
    public void StatusSaysTheWorst()
    {
        Assert.That(new VerifyReport([Right]).ExitCode, Is.EqualTo(ExitCodes.Success));
        Assert.That(new VerifyReport([Right, Failed]).ExitCode, Is.EqualTo(ExitCodes.KernelFailed));
        Assert.That(new VerifyReport([NotCompiled, Wrong]).ExitCode, Is.EqualTo(ExitCodes.WrongResult));
    }
}
