using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>Where and with what a report was made.</summary>
internal static partial class Machine
{
    /// <summary>The processor's name as its maker writes it.</summary>
    public static string Processor { get; } = CpuInfo("model name") ?? RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>The processor's name without trade marks and frequencies, and its generation where that is known.</summary>
    public static string ProcessorName =>
        Noise().Replace(Processor, "").Trim() + (Generation() is { } generation ? " " + generation : "");

    /// <summary>A text as a file's name: lower case, with hyphens between the words.</summary>
    public static string ToSlug(string text) => NotWord().Replace(text, "-").Trim('-').ToLowerInvariant();

    /// <summary>The command line that repeats this run. The script that starts it, maybe in another root, says its own name.</summary>
    public static string Command(string name, ReadOnlySpan<string> args)
    {
        string program = Environment.GetEnvironmentVariable("KERNEL_ENGINE_BENCHMARK_COMMAND")
            ?? "dotnet run -c Release --project benchmarks/KernelEngine.Benchmarks --";
        IEnumerable<string> words = args.ToArray().Select(arg => arg.Contains(' ', StringComparison.Ordinal) ? $"\"{arg}\"" : arg);
        return string.Join(' ', [program, name, .. words]);
    }

    /// <summary>The header of a report.</summary>
    public static string Describe(string command, int threads)
    {
        string torch = TorchLibrary.Load(threads) is { } reason ? $"Torch unavailable ({reason})" : TorchLibrary.Version;
        string generation = Generation() is { } g ? $" ({g})" : "";
        return string.Join('\n',
            $"- Processor: {Processor}{generation}, {Environment.ProcessorCount} cores, {InstructionSets()}; "
                + $"threads used: {threads}",
            $"- System: {RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}",
            $"- Peers: {torch}; {OnnxSession.Version}",
            $"- Commit: {Commit()}",
            $"- Command: `{command}`",
            $"- Date: {DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)} UTC");
    }

    /// <summary>The project's folder of results for this processor.</summary>
    public static string ResultsFolder()
    {
        string root = CheckoutRoot() is { } folder ? Path.Combine(folder, "benchmarks", "KernelEngine.Benchmarks") : Environment.CurrentDirectory;
        return Path.Combine(root, "results", ToSlug(ProcessorName));
    }

    /// <summary>The folder that holds the solution, or null when the program runs away from it.</summary>
    public static string? CheckoutRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "KernelEngine.sln")))
            folder = Path.GetDirectoryName(folder);
        return folder;
    }

    private static string InstructionSets() =>
        System.Runtime.Intrinsics.X86.Avx512F.IsSupported ? "AVX-512"
        : System.Runtime.Intrinsics.X86.Avx2.IsSupported ? "AVX2"
        : "128-bit SIMD";

    // A virtual machine often hides the model's number; family and model tell at least the microarchitecture.
    private static string? Generation() => (CpuInfo("vendor_id"), CpuInfo("cpu family"), CpuInfo("model")) switch
    {
        ("AuthenticAMD", "25", "17" or "24" or "97" or "116" or "160") => "Zen 4",
        ("AuthenticAMD", "25", "1" or "33" or "80") => "Zen 3",
        ("AuthenticAMD", "26", _) => "Zen 5",
        ("GenuineIntel", "6", "143") => "Sapphire Rapids",
        ("GenuineIntel", "6", "207") => "Emerald Rapids",
        ("GenuineIntel", "6", "106") => "Ice Lake",
        _ => null,
    };

    private static string Commit()
    {
        string? version = typeof(Machine).Assembly
            .GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion;
        string commit = version?.Split('+') is [_, { Length: >= 12 } id] ? id[..12] : "unknown";
        return commit + HasChanges() switch
        {
            true => ", with uncommitted changes",
            false => "",
            null => " (not checked for uncommitted changes: no git here)",
        };
    }

    private static bool? HasChanges()
    {
        if (Environment.GetEnvironmentVariable("KERNEL_ENGINE_BENCHMARK_CHANGES") is { } answer)
            return answer == "yes";
        try
        {
            var start = new ProcessStartInfo("git", ["status", "--porcelain", "--untracked-files=no"])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                WorkingDirectory = AppContext.BaseDirectory,
            };
            using var git = Process.Start(start)!;
            string changes = git.StandardOutput.ReadToEnd();
            git.WaitForExit();
            return git.ExitCode == 0 ? changes.Length > 0 : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }

    private static string? CpuInfo(string key)
    {
        if (!File.Exists("/proc/cpuinfo"))
            return null;
        string? line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.Split(':')[0].Trim() == key);
        return line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
    }

    [GeneratedRegex(@"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*$|\d+-Core", RegexOptions.IgnoreCase)]
    private static partial Regex Noise();

    [GeneratedRegex("[^A-Za-z0-9]+")]
    private static partial Regex NotWord();
}
