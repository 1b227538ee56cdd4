namespace KernelEngine.Tests;

/// <summary>
/// Every kernel of an operation, on every device it runs on, for every case that it supports, against the double-precision
/// reference. A test class of an operation derives from this and adds nothing.
/// </summary>
[TestFixture]
public abstract class OperationTests<TCases, TProblem>
    where TCases : IOperationCases<TProblem>
    where TProblem : struct, IProblem<TProblem>
{
    private static Expectation<TProblem>? s_last;

    [TestCaseSource(nameof(Runs))]
    public void MatchesTheReference(Kernel<TProblem> kernel, string deviceName, string problem, OperandPlacement placement)
    {
        Device device = TestDevices.Get(deviceName);
        VerificationResult result = Verifier.Verify(Expect(problem), kernel, device, placement);
        Assert.That(result.IsCorrect, result.ToString());
    }

    [TestCaseSource(nameof(Problems))]
    public void TextFormParsesBackToTheSameProblem(string text)
    {
        var problem = ProblemText.Parse<TProblem>(text);
        Assert.That(ProblemText.Parse<TProblem>(problem.ToText()), Is.EqualTo(problem));
    }

    [TestCaseSource(nameof(AllKernels))]
    public void SupportsACase(Kernel<TProblem> kernel)
    {
        if (kernel.WhyUnavailable is { } reason)
            Assert.Ignore(reason);
        Assert.That(Problems().Any(p => kernel.WhyUnsupported(ProblemText.Parse<TProblem>(p)) is null));
    }

    private static IEnumerable<string> Problems() =>
        TCases.Problems.Concat(TCases.Operation.Examples).Distinct(StringComparer.Ordinal);

    private static IEnumerable<Kernel<TProblem>> AllKernels() => TCases.Operation.Kernels.Append(TCases.Operation.Plain);

    // Cases outermost: kernels that share a case follow one another and share its expectation.
    private static IEnumerable<TestCaseData> Runs()
    {
        foreach ((Kernel<TProblem> kernel, string device, string reason, int count) in NotHere())
            yield return Named(kernel, device, $"{count} cases").Ignore(reason);
        foreach (string text in Problems())
        {
            var problem = ProblemText.Parse<TProblem>(text);
            foreach (Kernel<TProblem> kernel in AllKernels().Where(k => k.WhyUnavailable is null && k.WhyUnsupported(problem) is null))
            {
                foreach (string device in TestDevices.NamesFor(kernel.Devices).Where(d => CanRun(d, problem)))
                {
                    foreach (OperandPlacement placement in Enum.GetValues<OperandPlacement>().Where(p => IsWanted(device, p)))
                        yield return Named(kernel, device, text, placement);
                }
            }
        }
    }

    // Two threads compute contiguous operands and three the strided ones. The reference is what contiguous operands expect,
    // and the simulator is slow.
    private static bool IsWanted(string device, OperandPlacement placement) => device switch
    {
        "cpu" => placement == OperandPlacement.Contiguous,
        "cpu-3" or "reference" or "simulator" => placement == OperandPlacement.Strided,
        _ => true,
    };

    private static bool CanRun(string device, in TProblem problem) =>
        TestDevices.TryGet(device).Device is not null
        && (TestDevices.KindOf(device) != DeviceKinds.Simulator || problem.Flops <= TestDevices.SimulatorFlopLimit);

    private static IEnumerable<(Kernel<TProblem> Kernel, string Device, string Reason, int Count)> NotHere()
    {
        foreach (Kernel<TProblem> kernel in AllKernels())
        {
            int count = Problems().Count(p => kernel.WhyUnsupported(ProblemText.Parse<TProblem>(p)) is null);
            foreach (string device in TestDevices.NamesFor(kernel.Devices))
            {
                if ((TestDevices.TryGet(device).Reason ?? kernel.WhyUnavailable) is { } reason)
                    yield return (kernel, device, reason, count);
            }
        }
    }

    private static TestCaseData Named(
        Kernel<TProblem> kernel, string device, string text, OperandPlacement placement = OperandPlacement.Contiguous)
    {
        TestCaseData data = new TestCaseData(kernel, device, text, placement).SetArgDisplayNames(kernel.Name, device, text, placement.ToString());
        return TestDevices.CategoryOf(device) is { } category ? data.SetCategory(category) : data;
    }

    private static Expectation<TProblem> Expect(string text)
    {
        var problem = ProblemText.Parse<TProblem>(text);
        if (s_last is not { } last || !last.Problem.Equals(problem))
            s_last = last = Verifier.Expect(TCases.Operation, problem);
        return last;
    }
}
