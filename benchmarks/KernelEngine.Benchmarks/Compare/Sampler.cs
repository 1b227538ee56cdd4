using System.Diagnostics;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>Takes one sample: the mean time of a call over at least a given time.</summary>
internal static class Sampler
{
    // Threads of the implementation before keep spinning for some milliseconds; a call this long needs no warm-up call.
    private const int SettleMilliseconds = 50;
    private const double LongSeconds = 0.5, WarmUpSeconds = 0.5;

    /// <summary>Runs until the runtime's final code is in use, and returns the seconds of the last call.</summary>
    public static double WarmUp(Action run)
    {
        long begin = Stopwatch.GetTimestamp();
        double seconds = Time(run);
        while (Stopwatch.GetElapsedTime(begin).TotalSeconds < WarmUpSeconds)
            seconds = Time(run);
        return seconds;
    }

    /// <summary>Seconds of one call.</summary>
    /// <param name="run">The call.</param>
    /// <param name="minSeconds">The sample lasts at least this long.</param>
    /// <param name="expectedSeconds">What the call took before.</param>
    public static double Sample(Action run, double minSeconds, double expectedSeconds)
    {
        Thread.Sleep(SettleMilliseconds);
        if (expectedSeconds < LongSeconds)
            run(); // wakes the threads and brings back what the others pushed out of the caches
        long count = 0, begin = Stopwatch.GetTimestamp();
        double elapsed;
        do
        {
            run();
            count++;
            elapsed = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        }
        while (elapsed < minSeconds);
        return elapsed / count;
    }

    private static double Time(Action run)
    {
        long start = Stopwatch.GetTimestamp();
        run();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
