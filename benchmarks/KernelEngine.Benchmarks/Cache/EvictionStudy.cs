using System.Diagnostics;
using System.Globalization;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Cache;

/// <summary>What choosing and dropping costs beside attention.</summary>
internal static class EvictionStudy
{
    private const int Length = 32768, ChunkSize = 2048, NumHeads = 8, NumKvHeads = 2, HeadDim = 128, Budget = 4096, Interval = 128, Blocks = 2;

    private static readonly KvLayerShape Shape = new(NumKvHeads, HeadDim, HeadDim);

    public static string RunPrefill(Device device, int rounds)
    {
        using var rows = new RandomRows(device, Shape, NumHeads, ChunkSize);
        var shares = new List<double>();
        var times = new List<double>();
        for (int round = 0; round < Math.Min(rounds, 3); round++)
        {
            var policy = new TimedPolicy(new SnapKv(new UniformBudget(Budget)) { Phases = KvPhases.PrefillEnd });
            using var session = new KvSession(device, [Shape], [NumHeads], policy);
            session.Reserve(ChunkSize, Length);
            long start = Stopwatch.GetTimestamp();
            for (int position = 0; position < Length; position += ChunkSize)
                rows.Run(session, ChunkSize, position, position + ChunkSize < Length ? KvPhases.PrefillChunk : KvPhases.PrefillEnd);
            double total = Stopwatch.GetElapsedTime(start).TotalSeconds;
            times.Add(policy.Seconds);
            shares.Add(policy.Seconds / (total - policy.Seconds));
        }
        return string.Create(CultureInfo.InvariantCulture, $"""
            ## SnapKV at the end of a prompt of {Length} tokens

            {NumHeads} query heads over {NumKvHeads} key/value heads of {HeadDim} elements, f32, chunks of {ChunkSize}, budget {Budget}: scoring with the last 32 queries,
            choosing and moving together take {Spread.Of(times).Median * 1e3:0} ms, {Spread.Of(shares).Median:0.00 %} of the prompt's attention (largest of {shares.Count} rounds: {shares.Max():0.00 %}).

            """);
    }

    public static string RunDecode(Device device, int rounds)
    {
        using var rows = new RandomRows(device, Shape, NumHeads, 1024);
        string text = string.Create(CultureInfo.InvariantCulture, $"""
            ## Evicting while decoding: budget {Budget}, every {Interval} steps

            The same heads. A step with the policy against a step over as many slots without one, {rounds} rounds of {Blocks * Interval} steps each in turns,
            with new caches in each.

            | policy | step, ms | step without, ms | more |
            | --- | ---: | ---: | ---: |

            """);
        foreach (KvPolicy policy in (KvPolicy[])
            [
                new HeavyHitters(new UniformBudget(Budget)) { Phases = KvPhases.Decode, Interval = Interval },
                new Tova(new UniformBudget(Budget)) { Phases = KvPhases.Decode, Interval = Interval },
                new SnapKv(new UniformBudget(Budget)) { Phases = KvPhases.Decode, Interval = Interval },
                new StreamingLlm(Budget),
            ])
        {
            var seconds = new List<double>();
            var baseline = new List<double>();
            for (int round = 0; round < rounds; round++)
            {
                using var with = new KvSession(device, [Shape], [NumHeads], policy);
                using var without = new KvSession(device, [Shape], [NumHeads], new StreamingLlm(Budget + Interval / 2));
                rows.Fill(with.Cache, Budget);
                rows.Fill(without.Cache, Budget + Interval);
                int position = Budget + Interval;
                _ = Step(with) + Step(without);
                seconds.Add(Step(with));
                baseline.Add(Step(without));

                double Step(KvSession session)
                {
                    long start = Stopwatch.GetTimestamp();
                    for (int step = 0; step < Blocks * Interval; step++)
                        rows.Run(session, 1, position++, KvPhases.Decode);
                    return Stopwatch.GetElapsedTime(start).TotalSeconds / (Blocks * Interval);
                }
            }
            double more = Spread.Of(seconds.Zip(baseline, (a, b) => a / b - 1)).Median;
            text += string.Create(CultureInfo.InvariantCulture,
                $"| {policy.Name} | {Spread.Of(seconds).Median * 1e3:0.000} | {Spread.Of(baseline).Median * 1e3:0.000} | {more:0.0 %} |\n");
        }
        return text;
    }
}
