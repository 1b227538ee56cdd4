using System.Diagnostics;
using System.Text.RegularExpressions;

namespace KernelEngine;

/// <summary>
/// NVIDIA's <c>ptxas</c> and <c>cuobjdump</c>, which need no GPU: from the folder that <c>KERNEL_ENGINE_CUDA_TOOLS</c> names, else
/// from the path, else from where <c>.ci/cuda-tools</c> puts them.
/// </summary>
internal static partial class PtxAssembler
{
    private static readonly string[] s_tools = ["ptxas", "cuobjdump", "nvdisasm"];

    private static readonly string? s_folder = Candidates().FirstOrDefault(folder => s_tools.All(tool => File.Exists(Path.Combine(folder, tool))));

    /// <summary>Null where the tools are here, else a sentence that says where they were looked for.</summary>
    public static string? WhyAbsent =>
        s_folder is null ? "NVIDIA's ptxas, cuobjdump and nvdisasm are not here (.ci/cuda-tools fetches them)" : null;

    /// <summary>The release of CUDA that the tools are of: 12.4.</summary>
    public static string Release => ReleaseOf().Match(Run("ptxas", "--version")).Groups[1].Value;

    /// <summary>Assembles a text with one entry.</summary>
    /// <param name="text">PTX; its target may be older than the architecture, unless either ends in a letter.</param>
    /// <param name="architecture">sm_80, sm_90, sm_90a.</param>
    /// <param name="countInstructions">False to leave the instructions out: reading them costs more than assembling.</param>
    /// <exception cref="InvalidOperationException">The assembler refused the text; the message is its own.</exception>
    public static AssembledPtx Assemble(string text, string architecture, bool countInstructions = false)
    {
        string sass = "";
        string report = Assemble(text, architecture, cubin => sass = countInstructions ? Run("cuobjdump", "-sass", cubin) : "");
        Match frame = Frame().Match(report);
        return new AssembledPtx(
            Number(Registers().Match(report), 1), Number(frame, 1), Number(frame, 2), Number(frame, 3), Number(Shared().Match(report), 1), CountInstructions(sass))
        {
            Warning = Warning().Match(report) is { Success: true } warning ? warning.Groups[1].Value : null,
        };
    }

    /// <summary>
    /// The machine instructions of a text with one entry, as NVIDIA's disassembler writes them; with lines of source where there are any.
    /// </summary>
    /// <exception cref="InvalidOperationException">The assembler refused the text.</exception>
    public static string Disassemble(string text, string architecture)
    {
        string sass = "";
        Assemble(text, architecture, cubin => sass = HasLines(text) ? Run("nvdisasm", "-g", cubin) : Run("cuobjdump", "-sass", cubin));
        return sass;
    }

    // What the assembler says, after a look at what it made.
    private static string Assemble(string text, string architecture, Action<string> look)
    {
        string input = Path.GetTempFileName(), output = input + ".cubin";
        try
        {
            File.WriteAllText(input, text);
            string[] lines = HasLines(text) ? ["-lineinfo"] : [];
            string report = Run("ptxas", ["-v", $"-arch={architecture}", input, "-o", output, .. lines]);
            look(output);
            return report;
        }
        finally
        {
            File.Delete(input);
            File.Delete(output);
        }
    }

    private static bool HasLines(string text) => text.Contains("\t.loc\t", StringComparison.Ordinal);

    private static Dictionary<string, int> CountInstructions(string sass)
    {
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (Match match in Instruction().Matches(sass))
            counts[match.Groups[1].Value] = counts.GetValueOrDefault(match.Groups[1].Value) + 1;
        return counts;
    }

    // A line is absent where its number is 0.
    private static int Number(Match match, int group) => match.Success ? int.Parse(match.Groups[group].Value, null) : 0;

    private static string Run(string tool, params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(s_folder!, tool), arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        // cuobjdump starts nvdisasm by its name.
        start.Environment["PATH"] = s_folder + Path.PathSeparator + Environment.GetEnvironmentVariable("PATH");
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + error.GetAwaiter().GetResult();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{tool}: {output.Trim()}");
    }

    private static IEnumerable<string> Candidates()
    {
        if (Environment.GetEnvironmentVariable("KERNEL_ENGINE_CUDA_TOOLS") is { Length: > 0 } named)
            yield return named;
        foreach (string folder in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
            yield return folder;
        string cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } folderOfCaches
            ? folderOfCaches
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        yield return Path.Combine(cache, "kernel-engine", "cuda-tools");
    }

    [GeneratedRegex(@"\(C\d+\) Potential Performance Loss: (.*?)( in the function .*)?$", RegexOptions.Multiline)]
    private static partial Regex Warning();

    [GeneratedRegex(@"release (\d+\.\d+)")]
    private static partial Regex ReleaseOf();

    [GeneratedRegex(@"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex Frame();

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();

    // /*0120*/ @!P0 LDG.E.128 R4, [R2.64] ;
    [GeneratedRegex(@"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", RegexOptions.Multiline)]
    private static partial Regex Instruction();
}
