using System.Text.Json;

namespace KernelEngine.Tests.Cli;

public sealed class CommandLineTests
{
    [Test]
    public void HelpOfEachCommandHasItsExamples()
    {
        foreach (string command in (string[])["verify", "bench", "profile", "inspect", "run", "score", "heads", "convert"])
        {
            var run = CommandRun.Of(command, "--help");
            Assert.That(run.ExitCode, Is.Zero);
            Assert.That(run.Output, Does.Contain($"kernel-engine {command}"));
        }
    }

    [TestCase("kernels, devices, verify, bench, profile, inspect")]
    [TestCase("attention-forward", "bench", "nothing")]
    [TestCase("attention-forward", "verify", "nothing")]
    [TestCase("reference, cpu, opencl, cuda, simulator", "verify", "--device", "tpu")]
    [TestCase("'d=' is missing", "verify", "attention-forward", "q=1 k=1")]
    [TestCase("Unknown: z", "bench", "linear", "m=1 n=1 k=1 z=3")]
    [TestCase("'q=' is missing", "bench", "attention", "n=1 v=1 d=1")]
    [TestCase("linear/cpu-avx2", "bench", "linear", "m=1 n=1 k=1", "--kernel", "linear/none", "--device", "reference")]
    [TestCase("no kernel 'linear/none'", "profile", "linear/none", "m=1 n=1 k=1")]
    [TestCase("--iterations must be 1 to 1000", "profile", "linear/cpu-vector128", "m=1 n=1 k=1", "--iterations", "0")]
    [TestCase("'k=' is missing", "profile", "linear/cpu-vector128", "m=1 n=1")]
    [TestCase("takes at most 8 rows", "verify", "linear/cpu-matvec-vector128", "m=9 n=1 k=1")]
    [TestCase("--threads must be 0 to 1024", "devices", "--threads", "-1")]
    [TestCase("0 to 1", "run", "--depth", "2")]
    [TestCase("At least", "run", "--length", "2")]
    [TestCase("frobnicate", "frobnicate")]
    public void BadArgumentsGiveOneLineThatHelps(string hint, params string[] arguments)
    {
        var run = CommandRun.Of(arguments);
        Assert.That(run.ExitCode, Is.EqualTo(2));
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.Error, Does.StartWith("kernel-engine: ").And.Contains(hint));
        Assert.That(run.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
    }

    [Test]
    public void AMissingModelIsAFileProblem()
    {
        var run = CommandRun.Of("run", "--model", "no-such-model.bin");
        Assert.That(run.ExitCode, Is.EqualTo(3));
        Assert.That(run.Error, Does.Contain("no-such-model.bin"));
    }

    [Test]
    public void KernelsListsEveryKernel()
    {
        JsonElement[] kernels = [.. CommandRun.Of("kernels", "--json").Json.GetProperty("kernels").EnumerateArray()];
        Assert.That(
            kernels.Select(k => k.GetProperty("name").GetString()),
            Is.EqualTo(OperationList.All.SelectMany(o => o.Kernels).Select(k => k.Name)));
        JsonElement avx512 = kernels.Single(k => k.GetProperty("name").GetString() == "attention-forward/cpu-avx512");
        Assert.That(avx512.GetProperty("isAvailable").GetBoolean(), Is.EqualTo(System.Runtime.Intrinsics.X86.Avx512F.IsSupported));
        string table = CommandRun.Of("kernels").Output;
        Assert.That(OperationList.All.SelectMany(o => o.Kernels).Select(k => k.Name), Has.All.Matches<string>(table.Contains));
    }

    [Test]
    public void DevicesNamesEachAndSaysWhatIsMissing()
    {
        JsonElement json = CommandRun.Of("devices", "--json", "--threads", "2").Json;
        JsonElement[] devices = [.. json.GetProperty("devices").EnumerateArray()];
        Assert.That(devices.Select(d => d.GetProperty("name").GetString()), Is.EqualTo(DeviceList.Names));
        foreach (JsonElement device in devices)
            Assert.That(device.GetProperty(device.GetProperty("isHere").GetBoolean() ? "description" : "reason").GetString(), Is.Not.Empty);
        Assert.That(
            json.GetProperty("processor").GetProperty("vector256").GetBoolean(),
            Is.EqualTo(System.Runtime.Intrinsics.Vector256.IsHardwareAccelerated));
    }

    [Test]
    public void VerifyComparesTheKernelsOfAnOperation()
    {
        var run = CommandRun.Of("verify", "linear", "m=9 n=20 k=30", "--device", "cpu", "--threads", "2", "--seed", "7", "--json");
        Assert.That(run.ExitCode, Is.Zero);
        JsonElement[] results = [.. run.Json.GetProperty("results").EnumerateArray()];
        Assert.That(results, Is.Not.Empty);
        foreach (JsonElement result in results)
        {
            Assert.That(result.GetProperty("isCorrect").GetBoolean());
            Assert.That(result.GetProperty("seed").GetInt32(), Is.EqualTo(7));
            Assert.That(result.GetProperty("error").GetDouble(), Is.LessThanOrEqualTo(result.GetProperty("allowed").GetDouble()));
        }
        Assert.That(run.Json.GetProperty("skipped").EnumerateArray().Select(s => s.GetProperty("kernel").GetString()), Has.Some.Contains("matvec"));
    }

    [Test]
    public void VerifyTakesAKernelByName()
    {
        var run = CommandRun.Of("verify", "attention-decode/cpu-vector128", "h=2 q=1 k=65 d=40");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain("attention-decode/cpu-vector128").And.Contains("right"));
    }

    [Test]
    public void VerifyReadsProblemsFromAFile()
    {
        using var folder = new Models.TemporaryFolder();
        string cases = Path.Combine(folder.Path, "cases.txt");
        File.WriteAllText(cases, "# a comment\n\nlinear m=3 n=5 k=7\narg-max n=9\narg-max n=17\n");
        var run = CommandRun.Of("verify", "--cases", cases, "--device", "cpu", "--threads", "2", "--json");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(
            run.Json.GetProperty("results").EnumerateArray().Select(r => r.GetProperty("problem").GetString()).Distinct(),
            Is.EquivalentTo(["m=3 n=5 k=7", "m=1 n=9", "m=1 n=17"]));
        run = CommandRun.Of("verify", "arg-max", "--cases", cases, "--device", "cpu", "--threads", "2", "--failures");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
        Assert.That(run.Output, Does.Match("^[1-9][0-9]* right, 0 wrong, 0 not compiled, 0 failed, "));
    }

    [TestCase("line 2", "linear m=1 n=1 k=1\nlinear m=1 n=1 k=1 z=3\n")]
    [TestCase("line 1", "no-operation n=1\n")]
    public void VerifySaysWhichLineOfAFileIsWrong(string hint, string text)
    {
        using var folder = new Models.TemporaryFolder();
        string cases = Path.Combine(folder.Path, "cases.txt");
        File.WriteAllText(cases, text);
        var run = CommandRun.Of("verify", "--cases", cases);
        Assert.That(run.ExitCode, Is.EqualTo(2));
        Assert.That(run.Error, Does.Contain(hint));
    }

    [Test]
    public void VerifyCountsWhatTheTimeLimitLeaves()
    {
        var run = CommandRun.Of("verify", "arg-max", "--device", "cpu", "--threads", "1", "--time-limit", "1e-9", "--failures");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Match("^0 right, .* [1-9][0-9]* skipped"));
    }

    [Test]
    public void EveryCaseOfTheTestsIsListedForOtherMachines()
    {
        using var writer = new StringWriter();
        CaseListing.Write(writer);
        string[] lines = writer.ToString().TrimEnd().Split(Environment.NewLine);
        Assert.That(lines.Select(line => line.Split(' ')[0]).Distinct(), Is.EquivalentTo(OperationList.All.Select(o => o.Name)));
        foreach (string line in lines)
            Assert.That(() => OperationList.Find(line.Split(' ')[0]).ParseProblem(line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]), Throws.Nothing, line);
    }

    [Test]
    public void BenchTimesEachKernelAndThePlainComputation()
    {
        var run = CommandRun.Of("bench", "linear", "m=4 n=64 k=64", "--device", "cpu", "--threads", "1", "--rounds", "2", "--json");
        Assert.That(run.ExitCode, Is.Zero);
        JsonElement[] rows = [.. run.Json.GetProperty("results").EnumerateArray()];
        Assert.That(rows.Select(r => r.GetProperty("kernel").GetString()), Has.Member("linear/plain").And.Member("linear/cpu-vector128"));
        foreach (JsonElement row in rows.Where(r => !r.TryGetProperty("whyNotRun", out _)))
        {
            double seconds = row.GetProperty("medianMicroseconds").GetDouble() / 1e6;
            Assert.That(row.GetProperty("gflops").GetDouble(), Is.EqualTo(2.0 * 4 * 64 * 64 / seconds / 1e9).Within(0.1).Percent);
            Assert.That(row.GetProperty("roofPercent").GetDouble(), Is.Positive);
        }
    }

    [Test]
    public void BenchWithoutARoofHasTimesAllTheSame()
    {
        var run = CommandRun.Of(
            "bench", "linear", "m=4 n=64 k=64", "--kernel", "linear/cpu-vector128", "--device", "cpu", "--rounds", "1", "--no-roof", "--json");
        Assert.That(run.ExitCode, Is.Zero);
        JsonElement row = run.Json.GetProperty("results").EnumerateArray().Single();
        Assert.That(row.GetProperty("medianMicroseconds").GetDouble(), Is.Positive);
        Assert.That(row.TryGetProperty("roofPercent", out _), Is.False);
    }

    [Test]
    public void BenchOfAnAreaTimesItsOperationsThatHaveTheProblem()
    {
        var run = CommandRun.Of("bench", "cross-entropy", "n=3 v=40 d=16", "--device", "cpu", "--threads", "1", "--rounds", "1", "--json");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Json.GetProperty("operation").GetString(), Is.EqualTo("cross-entropy"));
        IEnumerable<string> operations = run.Json.GetProperty("results").EnumerateArray()
            .Select(row => row.GetProperty("kernel").GetString()!.Split('/')[0]).Distinct();
        Assert.That(operations, Is.EquivalentTo(["cross-entropy-forward", "cross-entropy-backward", "cross-entropy-training"]));
    }

    [Test]
    public void ProfileRunsOneKernelAndSaysHowToLook()
    {
        var run = CommandRun.Of("profile", "linear/cpu-vector128", "m=4 n=64 k=64", "--iterations", "3", "--warm-up", "1", "--threads", "1");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain("linear/cpu-vector128 on cpu").And.Contains("m=4 n=64 k=64"));
        Assert.That(run.Output, Does.Match("ncu --profile-from-start off .* profile linear/cpu-vector128 \"m=4 n=64 k=64\" --device cpu --iterations 3 --warm-up 1"));
        Assert.That(run.Output, Does.Match("nsys profile --capture-range=cudaProfilerApi .* profile linear/cpu-vector128"));
        Assert.That(run.Output, Does.Match("3 launches: [0-9.]+ µs each"));
    }

    [Test]
    public void ProfileNeedsADeviceThatTheKernelRunsOn()
    {
        var run = CommandRun.Of("profile", "linear/cpu-vector128", "m=4 n=64 k=64", "--device", "simulator");
        Assert.That(run.ExitCode, Is.EqualTo(3));
        Assert.That(run.Error, Does.Contain("linear/cpu-vector128").And.Contains("simulator"));
    }

    [Test]
    public void RunFindsTheNeedle([Values("stored", "bf16")] string weights)
    {
        var run = CommandRun.Of("run", "--length", "200", "--depth", "0.3", "--weights", weights, "--threads", "2");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain("verified"));
        Assert.That(run.Error, Does.Contain("attention-forward/cpu").And.Contains("tokens/s").And.Contains("kv cache"));
    }

    [Test]
    public void RunKeepsWhatThePolicySays()
    {
        var kept = CommandRun.Of("run", "--length", "200", "--depth", "0.9", "--threads", "2", "--cache", "streaming", "--budget", "128");
        Assert.That(kept.ExitCode, Is.Zero, kept.Error);
        Assert.That(kept.Error, Does.Contain("128 to 128 of 204 tokens a head"));
        var lost = CommandRun.Of("run", "--length", "200", "--depth", "0.1", "--threads", "2", "--cache", "h2o", "--budget", "32");
        Assert.That(lost.Output, Does.Contain("WRONG"));
        Assert.That(lost.ExitCode, Is.Not.Zero);
        Assert.That(CommandRun.Of("run", "--cache", "duo").Error, Does.Contain("heads"));
        Assert.That(CommandRun.Of("run", "--cache", "nothing").Error, Does.Contain("snapkv"));
    }

    // The head that finds the needle needs a span as long as the text, and the others do not.
    [TestCase(true)]
    [TestCase(false)]
    public void RunSeesTheSpansOfTheRules(bool isFinderFull)
    {
        using var folder = new Models.TemporaryFolder();
        string rules = folder.Write("rules.json", System.Text.Encoding.UTF8.GetBytes(
            "{\"alphas\": [[128, 128, 128, 128], [0, 128, 128, 128]], \"betas\": [[0, 0, 0, 0], [" + (isFinderFull ? 1 : 0) + ", 0, 0, 0]]}"));
        var run = CommandRun.Of("run", "--length", "400", "--depth", "0.5", "--threads", "2", "--attention", "moa", "--rules", rules);
        Assert.That(run.Output, Does.Contain(isFinderFull ? "verified" : "WRONG"), run.Error);
        Assert.That(CommandRun.Of("run", "--attention", "moa").Error, Does.Contain("--spans"));
        Assert.That(CommandRun.Of("run", "--attention", "moa", "--rules", rules, "--cache", "full").Error, Does.Contain("policy"));
    }

    [Test]
    public void EvictTellsWhatPoliciesLose()
    {
        using var folder = new Models.TemporaryFolder();
        var run = CommandRun.Of(
            "evict", "--length", "128", "--seeds", "1", "--policies", "streaming", "random", "--budgets", "16", "--threads", "2", "--output", folder.Path, "--json");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        using var rows = System.Text.Json.JsonDocument.Parse(run.Output);
        Assert.That(rows.RootElement.EnumerateArray().Select(row => row.GetProperty("policy").GetString()), Is.EqualTo(new[] { "full", "streaming", "random" }));
        Assert.That(rows.RootElement[0].GetProperty("needleAccuracy").EnumerateObject().Select(pair => pair.Value.GetDouble()), Has.All.EqualTo(1.0));
        Assert.That(Path.Combine(folder.Path, "evict.json"), Does.Exist);
        Assert.That(CommandRun.Of("evict", "--policies", "nothing").Error, Does.Contain("snapkv"));
        Assert.That(CommandRun.Of("evict", "--budgets", "0").Error, Does.Contain("--budgets"));
    }

    [Test]
    public void RunKeepsTheCacheInTheTypeAskedFor()
    {
        var wide = CommandRun.Of("run", "--length", "200", "--threads", "2");
        var narrow = CommandRun.Of("run", "--length", "200", "--threads", "2", "--kv-type", "bf16");
        Assert.That(narrow.ExitCode, Is.Zero);
        Assert.That(narrow.Output, Does.Contain("verified"));
        Assert.That(CacheLine(narrow.Error), Is.Not.EqualTo(CacheLine(wide.Error)).And.Contains("kv cache"));
        var codes = CommandRun.Of("run", "--length", "200", "--threads", "2", "--kv-type", "i8");
        Assert.That(codes.ExitCode, Is.Zero);
        Assert.That(codes.Output, Does.Contain("verified"));
        var few = CommandRun.Of("run", "--length", "200", "--threads", "2", "--kv-bits", "4", "--kv-full", "16");
        Assert.That(few.Output, Does.Contain("verified"), few.Error);
        Assert.That(CacheLine(few.Error), Is.Not.EqualTo(CacheLine(codes.Error)));
        Assert.That(CommandRun.Of("run", "--kv-bits", "3").Error, Does.Contain("2, 4 or 8"));
        Assert.That(CommandRun.Of("run", "--cache", "locret").Error, Does.Contain("networks"));
        var wrong = CommandRun.Of("run", "--kv-type", "i32");
        Assert.That(wrong.ExitCode, Is.Not.Zero);
        Assert.That(wrong.Error, Does.Contain("'f32'").And.Contain("'bf16'"));

        static string CacheLine(string text) => text.Split('\n').First(line => line.Contains("kv cache", StringComparison.Ordinal));
    }

    [Test]
    public void RunContinuesATextAndComparesItWithTheReference()
    {
        string model = TestData.PathOf("tinyllamas-stories260K/stories260K.bin");
        var run = CommandRun.Of("run", "--model", model, "--tokens", "40", "--threads", "2");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.StartWith("Once upon a time, there was a little girl named Lily."));
        Assert.That(run.Error, Does.Contain("verified all 40 new tokens"));
    }

    [Test]
    public void RunSaysWhereATextDiffersFromWhatIsExpected()
    {
        string model = TestData.PathOf("tinyllamas-stories260K/stories260K.bin");
        using var folder = new Models.TemporaryFolder();
        string expected = File.ReadAllText(TestData.PathOf("tinyllamas-stories260K/expected_greedy.json"));
        string other = Path.Combine(folder.Path, "other.json");
        int id = expected.IndexOf("403", StringComparison.Ordinal); // the first new token of the empty prompt
        File.WriteAllText(other, string.Concat(expected.AsSpan(0, id), "404", expected.AsSpan(id + 3)));
        var run = CommandRun.Of("run", "--model", model, "--tokens", "5", "--expect", other);
        Assert.That(run.ExitCode, Is.EqualTo(1));
        Assert.That(run.Error, Does.Contain("new token 0 is 403 but the reference's is 404"));
    }

    [Test]
    public void SamplingIsReproducible()
    {
        string model = TestData.PathOf("tinyllamas-stories260K/stories260K.bin");
        string[] arguments = ["run", "--model", model, "--tokens", "20", "--temperature", "1.2", "--top-k", "40", "--threads", "1", "--seed"];
        string first = CommandRun.Of([.. arguments, "3"]).Output;
        Assert.That(CommandRun.Of([.. arguments, "3"]).Output, Is.EqualTo(first));
        Assert.That(CommandRun.Of([.. arguments, "4"]).Output, Is.Not.EqualTo(first));
    }
}
