using System.Globalization;
using KernelEngine.Benchmarks.Compare;
using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Memory;

/// <summary>
/// Measures one problem and implementation in a process of its own, which writes one line: growth, bytes of results, bytes of the
/// matrix that is not stored, and a note; or a note alone.
/// </summary>
internal static class MemoryChild
{
    /// <summary>The implementations that are measured on a problem.</summary>
    public static IReadOnlyList<string> PeersOf(Case problem) => problem.OperationName == CrossEntropy.BackwardOperation.Name
        ? [EnginePeer.RowName, EngineOnePassPeer.RowName, "Torch"]
        : [EnginePeer.RowName, "Torch"];

    /// <summary>In the parent: starts the child and reads its line.</summary>
    public static MemoryRow Measure(string problem, string peer, int threads)
    {
        (int exitCode, string output) = ChildProcess.Run(
            "memory", "--problem", problem, "--peer", peer, "--threads", threads.ToString(CultureInfo.InvariantCulture));
        string[] answer = output.TrimEnd('\n').Split('\n')[^1].Split('\t');
        if (exitCode != 0 || answer.Length != 4)
        {
            string reason = exitCode == 0 ? answer[^1] : $"it ended with status {exitCode}";
            return new MemoryRow(problem, peer, null, null, null, reason);
        }
        long[] bytes = [.. answer[..3].Select(word => long.Parse(word, CultureInfo.InvariantCulture))];
        return new MemoryRow(problem, peer, bytes[0], bytes[1], bytes[2], answer[3]);
    }

    /// <summary>In the child.</summary>
    public static void Run(Case problem, string name, int threads)
    {
        using Device device = DeviceList.Open("cpu", threads);
        Peer peer = name switch
        {
            EnginePeer.RowName => new EnginePeer(device),
            EngineOnePassPeer.RowName => new EngineOnePassPeer(device),
            _ => new TorchPeer(threads),
        };
        try
        {
            using Workload workload = problem.CreateWorkload();
            using (Workload small = workload.CreateSmall())
            using (Contender warmUp = peer.Create(small)) // compiles, loads and starts what a first call does
                warmUp.Run();
            using Contender contender = peer.Create(workload);
            long growth = PeakMemory.Measure(contender.Run), results = peer is TorchPeer ? workload.LibraryResultBytes : 0;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{growth}\t{results}\t{workload.UnfusedBytes}\t{contender.Note}"));
        }
        catch (NotSupportedException e)
        {
            Console.WriteLine(e.Message);
        }
    }
}
