using KernelEngine.Benchmarks.Peers;

namespace KernelEngine.Benchmarks.Compare;

/// <summary>
/// Measures every implementation of a problem in interleaved rounds, A B C A B C ..., with the machine's roofs in each round:
/// a machine that is slow for a minute is slow for all of them.
/// </summary>
internal sealed class Comparison
{
    private const double SlowSeconds = 1.0;

    private Comparison(Workload workload) =>
        (OperationName, Label, Problem) = (workload.OperationName, workload.Label, workload.Problem);

    public string OperationName { get; }

    public string Label { get; }

    public IProblem Problem { get; }

    public List<Row> Rows { get; } = [];

    /// <summary>What a reader should know of the data.</summary>
    public IReadOnlyList<string> Explanation { get; private set; } = [];

    /// <summary>One measurement of the roofs a round.</summary>
    public List<Roof> Roofs { get; } = [];

    /// <summary>The fastest correct row of another library, or null.</summary>
    public Row? BestPeer =>
        Rows.Where(row => row.Seconds.Count > 0 && row.IsSameResult && row.IsBaseline).MinBy(row => row.Median);

    public static Comparison Run(Workload workload, Device device, CompareOptions options)
    {
        var comparison = new Comparison(workload);
        var contenders = new List<(Row Row, Contender Contender)>();
        try
        {
            foreach (Peer peer in PeerList.For(workload, device, options.Threads))
            {
                var row = new Row(peer.Name) { IsBaseline = peer.IsBaseline, IsSameProblem = peer.IsSameProblem };
                comparison.Rows.Add(row);
                try
                {
                    contenders.Add((row, peer.Create(workload)));
                    row.Note = contenders[^1].Contender.Note;
                    row.Problem = contenders[^1].Contender.Problem;
                }
                catch (NotSupportedException e)
                {
                    row.Note = e.Message;
                }
            }
            CheckResults(contenders, workload);
            comparison.Measure(contenders, device, options);
        }
        finally
        {
            foreach ((_, Contender contender) in contenders)
                contender.Dispose();
        }
        comparison.Explanation = workload.Explain(device);
        return comparison;
    }

    // Also the first warm-up. Low-precision results differ by the rounding of inputs, weights of the softmax and outputs.
    private static void CheckResults(List<(Row Row, Contender Contender)> contenders, Workload workload)
    {
        contenders[0].Contender.Run();
        float[] expected = contenders[0].Contender.ReadOutput();
        IReadOnlyList<int> lengths = workload.ResultLengths is { Count: > 0 } given ? given : [expected.Length];
        foreach ((Row row, Contender contender) in contenders.Skip(1))
        {
            contender.Run();
            if (!row.IsSameProblem)
                continue;
            float[] actual = contender.ReadOutput();
            bool isNarrow = workload.StorageType != DataType.Float32 || contender.StorageType != DataType.Float32;
            double tolerance = isNarrow ? 3e-2 : 1e-3, worst = -1;
            int begin = 0;
            foreach (int length in lengths)
            {
                (double Difference, double Scale) error = actual.Length == expected.Length
                    ? Compare(expected.AsSpan(begin, length), actual.AsSpan(begin, length))
                    : (double.PositiveInfinity, 1);
                row.IsSameResult &= error.Difference <= tolerance * error.Scale;
                double part = error.Scale > 0 ? error.Difference / error.Scale : error.Difference;
                if (!(part <= worst))
                    (worst, row.Error) = (part, error);
                begin += length;
            }
        }
    }

    private static (double Difference, double Scale) Compare(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        double difference = 0, scale = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            scale = Math.Max(scale, Math.Abs((double)expected[i]));
            double distance = Math.Abs((double)actual[i] - expected[i]);
            difference = distance <= difference ? difference : distance; // a NaN counts as a difference
        }
        return (difference, scale);
    }

    private void Measure(List<(Row Row, Contender Contender)> contenders, Device device, CompareOptions options)
    {
        double[] expected = [.. contenders.Select(c => Sampler.WarmUp(c.Contender.Run))];
        for (int round = 0; round < options.Rounds; round++)
        {
            Roofs.Add(KernelEngine.Roofs.Measure(device));
            for (int i = 0; i < contenders.Count; i++)
            {
                (Row row, Contender contender) = contenders[i];
                bool isOnceOnly = row.Name == NaivePeer.RowName && expected[i] > SlowSeconds;
                if (isOnceOnly && round > 0)
                    continue;
                row.Seconds.Add(Sampler.Sample(contender.Run, options.SampleSeconds, expected[i]));
                if (isOnceOnly)
                    row.Note += "; 1 sample";
            }
        }
    }
}
