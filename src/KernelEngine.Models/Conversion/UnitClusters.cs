namespace KernelEngine.Models.Conversion;

/// <summary>
/// Hidden units in groups of equal size, units together that are active together: k-means on their activities with a bound on each
/// group (as in MoEfication, Zhang et al. 2021, arXiv:2110.01786).
/// </summary>
internal static class UnitClusters
{
    private const int MaxIterations = 20;

    /// <summary>The units of each group, ascending; groups by their first unit.</summary>
    /// <param name="activity">[tokens, units]: how much each unit adds; only ratios of a unit's tokens count</param>
    /// <param name="units">Units, a multiple of the groups.</param>
    /// <param name="groups">Groups.</param>
    public static int[][] Find(float[] activity, int units, int groups)
    {
        double[][] rows = [.. Enumerable.Range(0, units).Select(unit => Direction(activity, unit, units))];
        double[][] centers = ChooseFirst(rows, groups);
        int[] group = [];
        for (int iteration = 0; iteration < MaxIterations; iteration++)
        {
            int[] next = Assign(rows, centers);
            if (next.AsSpan().SequenceEqual(group))
                break;
            group = next;
            for (int g = 0; g < groups; g++)
                centers[g] = Normalize(Sum(rows, group, g));
        }
        return [.. Enumerable.Range(0, units).GroupBy(unit => group[unit]).Select(members => members.Order().ToArray()).OrderBy(members => members[0])];
    }

    private static double[] Direction(float[] activity, int unit, int units)
    {
        var row = new double[activity.Length / units];
        for (int token = 0; token < row.Length; token++)
            row[token] = Math.Abs(activity[token * units + unit]);
        return Normalize(row);
    }

    private static double[] Normalize(double[] row)
    {
        double norm = Math.Sqrt(row.Sum(x => x * x));
        return norm > 0 ? Array.ConvertAll(row, x => x / norm) : row;
    }

    // The first unit, then each time the one that is least like those chosen.
    private static double[][] ChooseFirst(double[][] rows, int groups)
    {
        var centers = new List<double[]> { rows[0] };
        double[] likeness = [.. rows.Select(row => Dot(row, rows[0]))];
        while (centers.Count < groups)
        {
            int next = Array.IndexOf(likeness, likeness.Min());
            centers.Add(rows[next]);
            for (int i = 0; i < rows.Length; i++)
                likeness[i] = Math.Max(likeness[i], Dot(rows[i], rows[next]));
        }
        return [.. centers];
    }

    // The likeliest pairs of a unit and a group first, as long as the group has room.
    private static int[] Assign(double[][] rows, double[][] centers)
    {
        int room = rows.Length / centers.Length;
        var group = new int[rows.Length];
        var counts = new int[centers.Length];
        Array.Fill(group, -1);
        var pairs = new (double Likeness, int Unit, int Group)[rows.Length * centers.Length];
        for (int i = 0; i < pairs.Length; i++)
            pairs[i] = (Dot(rows[i / centers.Length], centers[i % centers.Length]), i / centers.Length, i % centers.Length);
        foreach ((_, int unit, int candidate) in pairs.OrderByDescending(pair => pair.Likeness).ThenBy(pair => pair.Unit).ThenBy(pair => pair.Group))
        {
            if (group[unit] < 0 && counts[candidate] < room)
            {
                group[unit] = candidate;
                counts[candidate]++;
            }
        }
        return group;
    }

    private static double[] Sum(double[][] rows, int[] group, int wanted)
    {
        var sum = new double[rows[0].Length];
        for (int unit = 0; unit < rows.Length; unit++)
        {
            for (int token = 0; token < sum.Length && group[unit] == wanted; token++)
                sum[token] += rows[unit][token];
        }
        return sum;
    }

    private static double Dot(double[] x, double[] y)
    {
        double sum = 0;
        for (int i = 0; i < x.Length; i++)
            sum += x[i] * y[i];
        return sum;
    }
}
