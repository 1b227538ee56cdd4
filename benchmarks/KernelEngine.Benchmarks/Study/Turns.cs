using System.Globalization;
using System.Text;
using KernelEngine.Benchmarks.Compare;

namespace KernelEngine.Benchmarks.Study;

/// <summary>
/// Contenders that are timed in turns, A B C B C A C A B ..., so that what slows the machine for a while slows all of them, and none
/// always follows the same one.
/// </summary>
internal sealed class Turns
{
    private readonly List<(string Name, Action Run, List<double> Seconds)> _contenders = [];

    /// <summary>Adds a contender.</summary>
    public Turns Add(string name, Action run)
    {
        _contenders.Add((name, run, []));
        return this;
    }

    /// <summary>Times all of them.</summary>
    public Turns Measure(int rounds)
    {
        double[] expected = [.. _contenders.Select(c => Sampler.WarmUp(c.Run))];
        for (int round = 0; round < rounds; round++)
        {
            for (int i = 0; i < expected.Length; i++)
            {
                int turn = (round + i) % expected.Length;
                _contenders[turn].Seconds.Add(Sampler.Sample(_contenders[turn].Run, 0.1, expected[turn]));
            }
        }
        return this;
    }

    /// <summary>How many times as fast as <paramref name="baseline"/> a contender is: the median of the ratios of the rounds.</summary>
    public double Speed(string name, string baseline) => Spread.Of(Find(baseline).Zip(Find(name), (a, b) => a / b)).Median;

    /// <summary>A contender's median, in seconds.</summary>
    public double Median(string name) => Spread.Of(Find(name)).Median;

    /// <summary>A table of medians, and of speeds against the first of <paramref name="baselines"/> and the others.</summary>
    public string Table(params ReadOnlySpan<string> baselines)
    {
        var text = new StringBuilder("| | median ms |");
        foreach (string baseline in baselines)
            text.Append(CultureInfo.InvariantCulture, $" speed against {baseline} |");
        text.Append("\n| --- | ---: |");
        foreach (string _ in baselines)
            text.Append(" ---: |");
        text.Append('\n');
        foreach ((string name, _, List<double> seconds) in _contenders)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {name} | {Spread.Of(seconds).Median * 1e3:0.0} |");
            foreach (string baseline in baselines)
                text.Append(CultureInfo.InvariantCulture, $" {Speed(name, baseline):0.00} |");
            text.Append('\n');
        }
        return text.ToString();
    }

    private List<double> Find(string name) => _contenders.Single(c => c.Name == name).Seconds;
}
