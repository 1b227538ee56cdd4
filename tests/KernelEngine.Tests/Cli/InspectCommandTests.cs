using System.Text.Json;
using KernelEngine.Cli;
using KernelEngine.Tests.Gpu;

namespace KernelEngine.Tests.Cli;

/// <summary>The command <c>inspect</c>, which needs no GPU; what it says of assembled code needs NVIDIA's tools.</summary>
public sealed class InspectCommandTests
{
    private const string Mma = "attention-forward/cuda-mma", Wgmma = "attention-forward/cuda-wgmma", Portable = "attention-forward/ilgpu-tiled";

    [Test]
    public void TableHasEveryEntry()
    {
        var run = CommandRun.Of("inspect", Wgmma);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(DeviceCode.NamesOf(OperationList.FindKernel(Wgmma).Kernel), Has.All.Matches<string>(run.Output.Contains));
        Assert.That(run.Output, Does.Contain("sm_90a").And.Contains("dynamic"));
        Assert.That(run.Output.Contains("Not assembled"), Is.EqualTo(PtxAssembler.WhyAbsent is not null));
    }

    [Test]
    public void PortableCodeIsInspectedToo()
    {
        JsonElement entry = Single("inspect", Portable, "--entry", "FlashTile64, Float32Storage, Float32Storage", "--arch", "sm_90", "--json");
        Assert.That(entry.TryGetProperty("target", out _), Is.False);
        Assert.That(entry.GetProperty("threads").GetInt32(), Is.Positive);
        Assert.That(entry.GetProperty("staticSharedBytes").GetInt32(), Is.Positive);
        Assert.That(entry.GetProperty("dynamicSharedBytes").GetInt32(), Is.Zero);
        Assert.That(entry.GetProperty("ptxLength").GetInt32(), Is.Positive);
    }

    [Test]
    [Category("Ptxas")]
    public void CountsWhatTheAssemblerMadeOfTensorCoreCode()
    {
        PtxAssembler.Require();
        JsonElement hopper = Single("inspect", Wgmma, "--entry", "WgmmaTile128, TensorCoreBFloat16", "--json").GetProperty("assembled");
        JsonElement ampere = Single("inspect", Mma, "--entry", "MmaTile128, TensorCoreBFloat16, Equal", "--json").GetProperty("assembled");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(hopper.GetProperty("architecture").GetString(), Is.EqualTo("sm_90a"));
            Assert.That(hopper.GetProperty("spillBytes").GetInt32(), Is.Zero);
            Assert.That(hopper.GetProperty("instructions").GetProperty("HGMMA").GetInt32(), Is.Positive);
            Assert.That(hopper.GetProperty("instructions").GetProperty("UTMALDG").GetInt32(), Is.Positive);
            Assert.That(hopper.GetProperty("instructions").GetProperty("HMMA").GetInt32(), Is.Zero);
            Assert.That(hopper.GetProperty("occupancy").GetProperty("groups").GetInt32(), Is.EqualTo(1));
            Assert.That(ampere.GetProperty("instructions").GetProperty("HMMA").GetInt32(), Is.Positive);
            Assert.That(ampere.GetProperty("instructions").GetProperty("LDGSTS").GetInt32(), Is.Positive);
        }
    }

    [Test]
    public void PrintsThePtxOfOneEntryAlone()
    {
        var run = CommandRun.Of("inspect", Mma, "--entry", "MmaTile128, TensorCoreBFloat16, Equal", "--ptx");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Contain(".target sm_80").And.Contains("mma.sync.aligned.m16n8k16").And.Not.Contains(".local"));
        Assert.That(run.Output.TrimStart(), Does.StartWith("//").Or.StartsWith(".version"));
    }

    [Test]
    [Category("Ptxas")]
    public void PrintsMachineInstructions()
    {
        PtxAssembler.Require();
        var run = CommandRun.Of("inspect", Mma, "--entry", "MmaTile128, TensorCoreBFloat16, Equal", "--arch", "sm_90", "--sass");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Contain("HMMA.16816.F32.BF16").And.Contains("EXIT"));
    }

    [Test]
    public void SaysWhatAProblemAsksFor()
    {
        const string text = "b=1 h=16 kv=16 q=4096 k=4096 d=128 causal bf16";
        IProblem problem = OperationList.FindKernel(Mma).Operation.ParseProblem(text);
        var run = CommandRun.Of("inspect", Mma, "--entry", "MmaTile128, TensorCoreBFloat16, Equal", "--problem", text, "--json");
        JsonElement work = run.Json.GetProperty("work");
        Assert.That(work.GetProperty("flops").GetDouble(), Is.EqualTo(problem.Flops));
        Assert.That(work.GetProperty("bytes").GetDouble(), Is.EqualTo(problem.Bytes));
        Assert.That(work.GetProperty("intensity").GetDouble(), Is.EqualTo(problem.Flops / problem.Bytes));
        // 4 · 4096² / 2 · 128 · 16 products on an A100 of 312 TFLOP/s.
        Assert.That(work.GetProperty("roof").GetProperty("limit").GetString(), Is.EqualTo("arithmetic"));
        Assert.That(work.GetProperty("roof").GetProperty("seconds").GetDouble(), Is.EqualTo(220.3e-6).Within(0.2e-6));
    }

    // Data sheets: A100 312 TFLOP/s on tensor cores, 19.5 in float32, 2039 GB/s; H100 989.4, 66.9, 3350.
    [TestCase("sm_80", true, 312e9, 1e6, "arithmetic", 1e-3)]
    [TestCase("sm_80", true, 153e6, 1e6, "memory", 1 / 2.039e6)]
    [TestCase("sm_80", false, 19.5e9, 1e6, "arithmetic", 1e-3)]
    [TestCase("sm_90a", true, 9.894e9, 33.5e6, "memory", 1e-5)]
    [TestCase("sm_90", false, 66.9e9, 1e6, "arithmetic", 1e-3)]
    public void TheRoofIsTheLowerOfTwo(string architecture, bool usesTensorCores, double flops, double bytes, string limit, double seconds)
    {
        var roof = InspectedRoof.Over(architecture, usesTensorCores, flops, bytes);
        Assert.That(roof.Limit, Is.EqualTo(limit));
        Assert.That(roof.Seconds, Is.EqualTo(seconds).Within(1e-9).Percent);
    }

    [Test]
    public void SaysWhatTheAssemblerRefused()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("The stand-in for the assembler is a script of a shell.");
            return;
        }
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            foreach (string tool in (string[])["ptxas", "cuobjdump", "nvdisasm"])
            {
                string path = Path.Combine(folder, tool);
                File.WriteAllText(path, "#!/bin/sh\necho 'line 7; error   : Arguments mismatch' >&2\nexit 255\n");
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            }
            var run = CommandRun.InChild("KERNEL_ENGINE_CUDA_TOOLS", folder, "inspect", Wgmma);
            Assert.That(run.ExitCode, Is.EqualTo(4), run.Output + run.Error);
            Assert.That(run.Error.TrimEnd(), Does.StartWith("kernel-engine: Could not assemble FlashAttentionForwardWgmma<")
                .And.EndsWith("for sm_90a: ptxas: line 7; error   : Arguments mismatch").And.Not.Contains('\n'));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase(2, "--arch must be one of", Mma, "--arch", "sm_70")]
    [TestCase(2, "is written for sm_90a", Wgmma, "--arch", "sm_90")]
    [TestCase(2, "--entry with more of a name picks one", Mma, "--ptx")]
    [TestCase(2, "has 'NoSuchTile' in its name", Mma, "--entry", "NoSuchTile")]
    [TestCase(2, "multiplies 16-bit queries", Wgmma, "--problem", "q=64 k=64 d=64")]
    [TestCase(2, "no kernel 'attention-forward/none'", "attention-forward/none")]
    [TestCase(3, "runs on the host", "linear/cpu-vector128")]
    public void RefusesWithOneLineThatHelps(int exitCode, string hint, params string[] arguments)
    {
        var run = CommandRun.Of(["inspect", .. arguments]);
        Assert.That(run.ExitCode, Is.EqualTo(exitCode), run.Error);
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.Error, Does.Contain(hint));
        Assert.That(run.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
    }

    // By the rules of the occupancy calculator: registers in units of 256 a warp, shared memory and 1 KiB a group, 64 warps, 32 groups.
    [TestCase("sm_80", 128, 0, 256, 2, 16, "registers")]
    [TestCase("sm_80", 32, 0, 1024, 2, 64, "registers")]
    [TestCase("sm_80", 255, 0, 32, 8, 8, "registers")]
    [TestCase("sm_80", 64, 80 << 10, 128, 2, 8, "shared memory")]
    [TestCase("sm_90", 64, 48 << 10, 128, 4, 16, "shared memory")]
    [TestCase("sm_90a", 168, 227 << 10, 384, 1, 12, "registers")]
    [TestCase("sm_90", 16, 0, 32, 32, 32, "groups")]
    [TestCase("sm_90", 24, 0, 256, 8, 64, "threads")]
    public void EstimatesOccupancy(string architecture, int registers, int sharedBytes, int threads, int groups, int warps, string limit) => Assert.That(
        Occupancy.Estimate(architecture, registers, sharedBytes, threads), Is.EqualTo(new Occupancy(groups, warps, limit)));

    private static JsonElement Single(params string[] arguments)
    {
        var run = CommandRun.Of(arguments);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        return run.Json.GetProperty("entries").EnumerateArray().Single();
    }
}
