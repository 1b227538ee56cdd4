using System.Globalization;

namespace KernelEngine.Tests;

/// <summary>
/// Random problems of some operations on every kernel that takes them, against the reference. <c>KERNEL_ENGINE_RANDOM_PROBLEMS</c> says how many
/// (a tenth of it on a GPU device), <c>KERNEL_ENGINE_RANDOM_SEED</c> where to begin: problem i has the seed first + i, and so
/// have its numbers. A failure is printed as a command that repeats it. A test class of an area derives from this.
/// </summary>
/// <param name="names">The operations, as often as they deserve it.</param>
/// <param name="draw">The text form of a problem of an operation, from a seed.</param>
[TestFixture]
public abstract class RandomProblemTests(IReadOnlyList<string> names, Func<int, string, string> draw)
{
    private const int DefaultProblems = 300, MostFailures = 5;

    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    public void RandomProblemsMatchTheReference(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        int problems = Number("KERNEL_ENGINE_RANDOM_PROBLEMS", DefaultProblems) / (deviceName == "cpu" ? 1 : 10);
        int first = Number("KERNEL_ENGINE_RANDOM_SEED", 1);
        Operation[] operations = [.. names.SelectMany(name => OperationList.All.Where(o => o.Name == name))];
        var failures = new List<string>();
        var runs = new SortedDictionary<string, int>(StringComparer.Ordinal);
        for (int seed = first; seed < first + problems && failures.Count < MostFailures; seed++)
        {
            Operation operation = operations[seed % operations.Length];
            var run = new Run(device, draw(seed, operation.Name), seed, runs);
            failures.AddRange(operation.Accept(run));
        }
        foreach ((string kernel, int count) in runs)
            TestContext.Out.WriteLine($"{kernel}: {count} problems");
        Assert.That(failures, Is.Empty, string.Join('\n', failures));
        string[] idle = [.. operations.SelectMany(o => o.Kernels)
            .Where(k => (k.Devices & device.Kind) != 0 && k.WhyUnavailable is null && !runs.ContainsKey(k.Name)).Select(k => k.Name).Distinct()];
        Assert.That(problems < DefaultProblems ? [] : idle, Is.Empty, "kernels that no problem came to");
    }

    [Test]
    public void ASeedDrawsTheSameProblemAgain()
    {
        foreach (string operation in names)
        {
            string first = draw(7, operation), again = draw(7, operation);
            Assert.That(again, Is.EqualTo(first));
        }
    }

    /// <summary>Asserts that each word comes in one of some hundred problems.</summary>
    protected void CheckDraws(string operation, params ReadOnlySpan<string> words)
    {
        string all = string.Concat(Enumerable.Range(0, 400).Select(seed => " " + draw(seed, operation)));
        foreach (string word in words)
            Assert.That(all, Does.Contain(" " + word));
    }

    private static int Number(string variable, int defaultValue) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : defaultValue;

    private sealed class Run(Device device, string text, int seed, SortedDictionary<string, int> runs) : IOperationVisitor<List<string>>
    {
        public List<string> Visit<TProblem>(Operation<TProblem> operation) where TProblem : struct, IProblem<TProblem>
        {
            var problem = ProblemText.Parse<TProblem>(text);
            var failures = new List<string>();
            Kernel<TProblem>[] kernels =
                [.. operation.Kernels.Where(k => (k.Devices & device.Kind) != 0 && k.WhyUnavailable is null && k.WhyUnsupported(problem) is null)];
            if (kernels.Length == 0)
                return failures;
            Expectation<TProblem> expectation = Verifier.Expect(operation, problem, seed);
            OperandPlacement placement = seed / 7 % 2 == 0 ? OperandPlacement.Contiguous : OperandPlacement.Strided;
            foreach (Kernel<TProblem> kernel in kernels)
            {
                runs[kernel.Name] = runs.GetValueOrDefault(kernel.Name) + 1;
                VerificationResult result = Verifier.Verify(expectation, kernel, device, placement);
                if (!result.IsCorrect && !IsRoundingStep(operation, kernel, result) && !IsBarTooLucky(operation, kernel, problem, result))
                    failures.Add($"kernel-engine verify {kernel.Name} \"{text}\" --device {device.Name} --seed {seed}   ({placement}: {result.Failure})");
            }
            return failures;
        }

        // The bar is the error of the plain computation on the same numbers. Where an output is a small difference of large terms,
        // as the gradient of a bias that has one element, that error may be nothing by luck. Such a result is off by a few bars,
        // and the kernel is right with eight other draws of the numbers.
        private bool IsBarTooLucky<TProblem>(Operation<TProblem> operation, Kernel<TProblem> kernel, TProblem problem, VerificationResult result)
            where TProblem : struct, IProblem<TProblem>
        {
            if (!(result.Error > result.Bar && result.Error <= 11 * result.Bar))
                return false;
            TestContext.Out.WriteLine($"a few bars off, if right with other numbers: {result}");
            return Enumerable.Range(1, 8).All(i => Verifier.Verify(operation, kernel, device, problem, seed + 1_000_000 * i).IsCorrect);
        }

        // The reference's outputs are rounded to the storage type too. Where its exact value lies between two stored numbers, the
        // last bit of a sum decides which of them a kernel stores, and a small problem may have no such place where the plain
        // computation decides otherwise. Such a result is at most one step off (tolerances are a tenth of a step), and right
        // when the same problem is stored in float32.
        private bool IsRoundingStep<TProblem>(Operation<TProblem> operation, Kernel<TProblem> kernel, VerificationResult result)
            where TProblem : struct, IProblem<TProblem>
        {
            string wide = string.Join(' ', text.Split(' ').Where(word => word.Split('=')[^1] is not ("f16" or "bf16")));
            if (wide == text || !(result.Error > result.Bar && result.Error <= 11 * result.Bar))
                return false;
            var problem = ProblemText.Parse<TProblem>(wide);
            TestContext.Out.WriteLine($"one step of rounding, if right in float32: {result}");
            return kernel.WhyUnsupported(problem) is null && Verifier.Verify(operation, kernel, device, problem, seed).IsCorrect;
        }
    }
}
