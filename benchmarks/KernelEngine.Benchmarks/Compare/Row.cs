namespace KernelEngine.Benchmarks.Compare;

/// <summary>What one implementation did on one problem.</summary>
internal sealed class Row(string name)
{
    public string Name { get; } = name;

    /// <summary>Whether its time may be the one that others are divided into.</summary>
    public bool IsBaseline { get; init; }

    /// <summary>False when it computes a related problem, whose result is another.</summary>
    public bool IsSameProblem { get; init; } = true;

    /// <summary>How the problem was expressed, or why there are no times.</summary>
    public string Note { get; set; } = "";

    /// <summary>The problem in the row's own storage, or null for that of the comparison.</summary>
    public IProblem? Problem { get; set; }

    /// <summary>Seconds of a call, one a round; empty when it could not run. One sample alone when it is slow.</summary>
    public List<double> Seconds { get; } = [];

    /// <summary>The largest difference from the engine's result and the largest absolute value of that, in the worst part of it.</summary>
    public (double Difference, double Scale)? Error { get; set; }

    /// <summary>False when its result is another than the engine's: its time is then no comparison.</summary>
    public bool IsSameResult { get; set; } = true;

    /// <summary>The median time.</summary>
    public double Median => Spread.Of(Seconds).Median;
}
