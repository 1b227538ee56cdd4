using System.Diagnostics;
using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>
/// The command <c>memory</c>: what one call adds to the greatest resident size, each problem and implementation in a process
/// of its own. A child writes one line: bytes and a note, or only the note.
/// </summary>
internal static class MemoryCommand
{
    private const string Torch = "Torch";

    private static readonly string[] Problems =
    [
        "attention-forward q=2048 k=2048 d=64", "attention-forward q=8192 k=8192 d=64",
        "attention-forward q=32768 k=32768 d=64", "attention-backward q=2048 k=2048 d=64",
        "attention-backward q=8192 k=8192 d=64", "attention-backward q=32768 k=32768 d=64",
        "attention-decode h=8 q=1 k=262144 d=128 bf16",
    ];

    public static int Run(ReadOnlySpan<string> args)
    {
        MemoryOptions options;
        try
        {
            options = MemoryOptions.Parse(args);
            if (options.Problem is { } text)
                return MeasureOne(Case.Parse(text), options);
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
        foreach (string problem in Problems)
        {
            Console.Error.WriteLine(problem);
            foreach (string peer in (string[])[EnginePeer.RowName, Torch])
                rows.Add(MeasureInChild(problem, peer, options.Threads));
        }
        File.WriteAllText(file, Format(header, rows));
        Console.WriteLine(file);
        return 0;
    }

    private static int MeasureOne(Case problem, MemoryOptions options)
    {
        using Device device = DeviceList.Open("cpu", options.Threads);
        Peer peer = options.Peer == Torch ? new TorchPeer(options.Threads) : new EnginePeer(device);
        try
        {
            using Workload workload = problem.CreateWorkload();
            using (Workload small = workload.CreateSmall())
            using (Contender warmUp = peer.Create(small)) // compiles, loads and starts what a first call does
                warmUp.Run();
            using Contender contender = peer.Create(workload);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{PeakMemory.Measure(contender.Run)}\t{contender.Note}"));
        }
        catch (NotSupportedException e)
        {
            Console.WriteLine("\t" + e.Message);
        }
        return 0;
    }

    private static MemoryRow MeasureInChild(string problem, string peer, int threads)
    {
        List<string> arguments =
        [
            "memory", "--problem", problem, "--peer", peer, "--threads", threads.ToString(CultureInfo.InvariantCulture),
        ];
        string program = Environment.ProcessPath!;
        if (Path.GetFileNameWithoutExtension(program) == "dotnet")
            arguments.Insert(0, typeof(MemoryCommand).Assembly.Location);
        using var child = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string[] answer = child.StandardOutput.ReadToEnd().TrimEnd('\n').Split('\n')[^1].Split('\t');
        child.WaitForExit();
        bool isMeasured = child.ExitCode == 0 && answer.Length == 2;
        long? growth = isMeasured && answer[0].Length > 0 ? long.Parse(answer[0], CultureInfo.InvariantCulture) : null;
        string note = isMeasured ? answer[1] : $"it ended with status {child.ExitCode}";

        Case parsed = Case.Parse(problem);
        AttentionProblem sizes = ProblemText.Parse<AttentionProblem>(parsed.ProblemText);
        long results = peer != Torch ? 0 : CountResults(sizes, parsed.OperationName == Attention.BackwardOperation.Name);
        return new MemoryRow(problem, peer, growth, results, 4L * sizes.QueryLength * sizes.KvLength, note);
    }

    // The output; in training the log-sum-exp and three gradients as well.
    private static long CountResults(AttentionProblem p, bool isTraining)
    {
        int[] operands = isTraining
            ? [AttentionProblem.Output, AttentionProblem.Lse, AttentionProblem.Query, AttentionProblem.Key, AttentionProblem.Value]
            : [AttentionProblem.Output];
        return operands.Sum(index => p.GetOperand(index) is var operand ? operand.Shape.Count * operand.Type.SizeInBytes() : 0);
    }

    private static string Format(string header, List<MemoryRow> rows)
    {
        var text = new StringBuilder();
        text.Append("# Memory beyond the operands\n\n").Append(header).Append(
            """


            Each row is a process of its own: it computes a small problem, makes the operands of this one, resets the peak of its
            resident size (`/proc/self/clear_refs`) and runs one call. *Growth* is VmHWM afterwards less VmHWM before, in MiB; Linux
            counts it only approximately. The engine writes results to memory that is there before; what libtorch allocates
            for its results, as sizes tell, is in the next column. *Beyond* is their difference: scratch memory.
            The last figure is one head's matrix of f32 scores, which attention without fusion would store.

            | problem | implementation | growth | results in it | beyond | one head's scores | note |
            | --- | --- | ---: | ---: | ---: | ---: | --- |

            """);
        foreach (MemoryRow row in rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {row.Problem} | {row.Name} | {Mebibytes(row.Growth)} ")
                .Append(CultureInfo.InvariantCulture, $"| {Mebibytes(row.ResultBytes)} | {Mebibytes(row.Growth - row.ResultBytes)} ")
                .Append(CultureInfo.InvariantCulture, $"| {Mebibytes(row.ScoreBytes)} | {row.Note} |\n");
        }
        return text.ToString();
    }

    private static string Mebibytes(long? bytes) =>
        bytes is { } count ? (count / 1048576.0).ToString("F1", CultureInfo.InvariantCulture) : "–";
}
