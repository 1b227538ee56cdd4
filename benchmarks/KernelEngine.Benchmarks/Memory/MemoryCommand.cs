using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>
/// The command <c>memory</c>: what one call adds to the greatest resident size, each problem and implementation in a process
/// of its own.
/// </summary>
internal static class MemoryCommand
{
    private static readonly string[] Problems =
    [
        "attention-forward q=2048 k=2048 d=64", "attention-forward q=8192 k=8192 d=64",
        "attention-forward q=32768 k=32768 d=64", "attention-backward q=2048 k=2048 d=64",
        "attention-backward q=8192 k=8192 d=64", "attention-backward q=32768 k=32768 d=64",
        "attention-decode h=8 q=1 k=262144 d=128 bf16",
        "cross-entropy-forward n=1024 v=49152 d=576", "cross-entropy-forward n=2048 v=50257 d=768",
        "cross-entropy-forward n=512 v=128256 d=2048", "cross-entropy-backward n=1024 v=49152 d=576",
        "cross-entropy-backward n=1024 v=49152 d=576 bf16", "cross-entropy-backward n=1024 v=49152 d=576 filter=0.00024414063",
        "cross-entropy-backward n=2048 v=50257 d=768", "cross-entropy-backward n=512 v=128256 d=2048",
    ];

    public static int Run(ReadOnlySpan<string> args)
    {
        MemoryOptions options;
        try
        {
            options = MemoryOptions.Parse(args);
            if (options.Problem is { } text)
            {
                MemoryChild.Run(Case.Parse(text), options.Peer ?? "", options.Threads);
                return 0;
            }
        }
        catch (FormatException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }
        string file = Path.GetFullPath(options.Output ?? Path.Combine(Machine.ResultsFolder(), "memory.md"));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        string header = Machine.Describe(Machine.Command("memory", args), options.Threads);
        var rows = new List<MemoryRow>();
        foreach (string problem in Problems.Where(options.Includes))
        {
            Console.Error.WriteLine(problem);
            foreach (string peer in MemoryChild.PeersOf(Case.Parse(problem)))
                rows.Add(MemoryChild.Measure(problem, peer, options.Threads));
        }
        File.WriteAllText(file, Format(header, rows));
        Console.WriteLine(file);
        return 0;
    }

    private static string Format(string header, List<MemoryRow> rows)
    {
        var text = new StringBuilder();
        text.Append("# Memory beyond the operands\n\n").Append(header).Append("\n\n").Append(MemoryTable.Explanation).Append('\n');
        MemoryTable.Append(text, rows);
        return text.ToString();
    }
}
