using System.Diagnostics;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>The operation's plain computation: scalar loops on one thread, the mathematics without any craft.</summary>
public sealed class NaivePeer(Device device, double maxSeconds = NaivePeer.DefaultMaxSeconds) : Peer(RowName)
{
    public const string RowName = "Naive";

    /// <summary>A call that takes longer is not worth its row.</summary>
    public const double DefaultMaxSeconds = 2;

    private const double CalibrationSeconds = 0.4;

    public override bool IsBaseline => false;

    public override Contender Create(Workload workload)
    {
        double seconds = Estimate(workload);
        return seconds <= maxSeconds
            ? workload.CreateEngine(device, isPlain: true)
            : throw new NotSupportedException($"skipped: it would take about {seconds:F1} s a call, more than {maxSeconds:F0} s");
    }

    // From a small problem of the same kind, repeated until the compiler's final code runs.
    private double Estimate(Workload workload)
    {
        using Workload small = workload.CreateSmall();
        using Contender contender = small.CreateEngine(device, isPlain: true);
        long begin = Stopwatch.GetTimestamp();
        double best = double.PositiveInfinity;
        while (Stopwatch.GetElapsedTime(begin).TotalSeconds < CalibrationSeconds)
        {
            long start = Stopwatch.GetTimestamp();
            contender.Run();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best * workload.Problem.Flops / small.Problem.Flops;
    }
}
