using System.Globalization;

namespace KernelEngine.Models.Heads;

/// <summary>
/// Chooses the span of each head, α + β · N tokens of a text of N, so that the loss which <see cref="MoaProfile"/> foresees is small and
/// the mean density within a bound at each profiled length (MoA, Fu et al. 2024, arXiv:2406.14909, section 4.2). A layer has two rules at
/// the most. The published planner is a mixed-integer program over the losses at all lengths. Here each weighting of them, in quarters, is
/// solved by itself: a price of density is found by bisection, at which every layer takes what is best for it, and then layers are made
/// denser one by one as far as they fit. That gives plans on the convex part of the same front; of those that no other beats at every
/// length, the best at another length is taken.
/// </summary>
public sealed class MoaPlanner
{
    private const int Eighths = 8, Quarters = 4, Bisections = 60;
    private const double Rounding = 1e-9; // of densities

    // What a whole text's keys for one head must lower the loss by at least, as a share of all that can be lost.
    private const double LeastPrice = 1e-9;

    private readonly MoaProfile[] _profiles;
    private readonly (int Alpha, double Beta)[] _rules;
    private readonly int _numLayers, _numHeads;
    private readonly double[][] _densities; // [profiles][rules]
    private readonly double[] _density; // [rules], the mean over the lengths
    private readonly double[][][] _losses; // [profiles][heads of all layers][rules], as shares of all that can be lost
    private readonly MoaPlanOptions _options;

    private MoaPlanner(MoaProfile[] profiles, (int Alpha, double Beta)[] rules, MoaPlanOptions options)
    {
        (_profiles, _rules, _options) = (profiles, rules, options);
        (_numLayers, _numHeads) = (profiles[0].Total.NumLayers, profiles[0].Total.NumHeads);
        _densities = [.. profiles.Select(profile => rules.Select(rule => Density(rule, profile)).ToArray())];
        _density = [.. rules.Select((_, c) => _densities.Average(density => density[c]))];
        _losses = [.. profiles.Select(profile =>
        {
            double[][] losses = [.. Enumerable.Range(0, _numLayers * _numHeads).Select(
                head => rules.Select(rule => Loss(rule, profile, head)).ToArray())];
            double most = losses.Sum(loss => loss.Max());
            return most > 0 ? losses.Select(loss => loss.Select(value => value / most).ToArray()).ToArray() : losses;
        })];
    }

    /// <summary>The rules that heads may have: spans above 0 at the shortest length, and no longer than the text at the longest.</summary>
    /// <param name="lengths">Lengths that are profiled, ascending.</param>
    /// <param name="maxLength">The longest that rules are for, at least the last of those.</param>
    /// <param name="alphaStep">Tokens from one α to the next, from minus the shortest length on. β goes from 0 to 1 in eighths.</param>
    /// <exception cref="ArgumentException">The lengths do not ascend, or a number is out of range.</exception>
    public static IReadOnlyList<(int Alpha, double Beta)> Candidates(IReadOnlyList<int> lengths, int maxLength, int alphaStep = 1024)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        ArgumentOutOfRangeException.ThrowIfLessThan(alphaStep, 1);
        bool doAscend = lengths.Zip(lengths.Skip(1)).All(pair => pair.First < pair.Second);
        if (lengths.Count == 0 || lengths[0] < 1 || maxLength < lengths[^1] || !doAscend)
            throw new ArgumentException("Lengths must ascend, from 1 at least to the longest that rules are for.", nameof(lengths));
        return
        [
            .. from i in Enumerable.Range(0, (lengths[0] + lengths[^1]) / alphaStep + 1)
               from eighth in Enumerable.Range(0, Eighths + 1)
               let alpha = i * alphaStep - lengths[0]
               let beta = eighth / (double)Eighths
               where alpha + beta * lengths[0] > 0 && alpha + beta * lengths[^1] <= lengths[^1] && alpha + beta * maxLength <= maxLength
               select (alpha, beta),
        ];
    }

    /// <summary>Plans the spans.</summary>
    /// <param name="profiles">The influence at different lengths, of the same model and block size.</param>
    /// <param name="numHeads">Query heads of a layer; those that share a key/value head get the same rule.</param>
    /// <param name="options">Null for the published ones.</param>
    /// <param name="unseen">The profile at another length, which decides between plans; null to decide by the sum over those given.</param>
    /// <exception cref="ArgumentException">The profiles do not fit one another, or no rules are within the density.</exception>
    public static MoaRules Plan(IReadOnlyList<MoaProfile> profiles, int numHeads, MoaPlanOptions? options = null, MoaProfile? unseen = null)
    {
        ArgumentNullException.ThrowIfNull(profiles);
        options ??= MoaPlanOptions.Default;
        if (!(options.Density is > 0 and <= 1 && options.LeastUse is >= 0 and <= 1))
            throw new ArgumentException("The density must be above 0 and at most 1, and its least use 0 to 1.", nameof(options));
        if (profiles.Count == 0)
            throw new ArgumentException("There must be a profile.", nameof(profiles));
        MoaProfile[] ordered = [.. profiles.OrderBy(profile => profile.Length)];
        HeadScores heads = ordered[0].Total;
        foreach (MoaProfile profile in ordered.Append(unseen ?? ordered[0]))
        {
            bool isAlike = (profile.Total.NumLayers, profile.Total.NumHeads) == (heads.NumLayers, heads.NumHeads);
            if (!isAlike || profile.BlockSize != ordered[0].BlockSize)
                throw new ArgumentException("The profiles must be of one model and one block size.", nameof(profiles));
        }
        if (numHeads < 1 || numHeads % heads.NumHeads != 0)
        {
            throw new ArgumentException(
                $"numHeads must be a multiple of numKvHeads but {numHeads} is no multiple of {heads.NumHeads}.", nameof(numHeads));
        }
        int maxLength = options.MaxLength > 0 ? options.MaxLength : 2 * ordered[^1].Length;
        var candidates = Candidates([.. ordered.Select(profile => profile.Length)], maxLength, options.AlphaStep);
        var planner = new MoaPlanner(ordered, [.. Distinct(candidates, ordered, maxLength)], options);
        int[] plan = planner.Choose(unseen);
        var (alphas, betas) = (new HeadScores(heads.NumLayers, numHeads), new HeadScores(heads.NumLayers, numHeads));
        for (int layer = 0; layer < heads.NumLayers; layer++)
        {
            for (int head = 0; head < numHeads; head++)
            {
                int kvHead = head / (numHeads / heads.NumHeads);
                (alphas[layer, head], betas[layer, head]) = planner._rules[plan[layer * heads.NumHeads + kvHead]];
            }
        }
        return new MoaRules(alphas, betas);
    }

    // Of rules that are alike at every length that was seen, one: the longest where that is the whole text, which it is to stay, else the
    // shortest.
    private static IEnumerable<(int Alpha, double Beta)> Distinct(
        IEnumerable<(int Alpha, double Beta)> rules, MoaProfile[] profiles, int maxLength) =>
        from rule in rules
        group rule by string.Join(' ', profiles.Select(profile => RecentBlocks(rule, profile))) into alike
        let isWhole = profiles.All(profile => Density(alike.First(), profile) == 1)
        select isWhole ? alike.MaxBy(rule => rule.Alpha + rule.Beta * maxLength) : alike.MinBy(rule => rule.Alpha + rule.Beta * maxLength);

    // The last blocks that a row sees, its own among them, beside the first.
    private static int RecentBlocks((int Alpha, double Beta) rule, MoaProfile profile) =>
        Math.Clamp((int)Math.Floor((rule.Alpha + rule.Beta * profile.Length) / profile.BlockSize), 1, profile.NumBlocks);

    // The share of its blocks that the last row sees.
    private static double Density((int Alpha, double Beta) rule, MoaProfile profile) =>
        Math.Min(RecentBlocks(rule, profile) + 1, profile.NumBlocks) / (double)profile.NumBlocks;

    private double Loss((int Alpha, double Beta) rule, MoaProfile profile, int head) =>
        profile.Loss(head / _numHeads, head % _numHeads, RecentBlocks(rule, profile));

    // The plan of the front that is best at the unseen length.
    private int[] Choose(MoaProfile? unseen)
    {
        List<(int[] Plan, double[] Losses)> plans = [.. Weightings(_profiles.Length).Select(weights =>
        {
            int[] plan = Solve(weights);
            return (plan, _losses.Select(loss => plan.Select((rule, head) => loss[head][rule]).Sum()).ToArray());
        })];
        return plans.Where(one => !plans.Any(other => IsBeaten(one.Losses, other.Losses))).MinBy(one => unseen is null
            ? one.Losses.Sum()
            : one.Plan.Select((rule, head) => Loss(_rules[rule], unseen, head)).Sum()).Plan;

        static bool IsBeaten(double[] losses, double[] others) =>
            losses.Zip(others).All(pair => pair.Second <= pair.First) && losses.Zip(others).Any(pair => pair.Second < pair.First);
    }

    // All ways to divide so many quarters among the lengths.
    private static IEnumerable<double[]> Weightings(int lengths, int quarters = Quarters) => lengths == 1
        ? [[quarters / (double)Quarters]]
        : Enumerable.Range(0, quarters + 1).SelectMany(
            first => Weightings(lengths - 1, quarters - first).Select(rest => (double[])[first / (double)Quarters, .. rest]));

    // A rule for each head, for one weighting of the losses.
    private int[] Solve(double[] weights)
    {
        double[][] costs = [.. Enumerable.Range(0, _numLayers * _numHeads).Select(
            head => _rules.Select((_, rule) => weights.Select((weight, p) => weight * _losses[p][head][rule]).Sum()).ToArray())];
        Item[][] items = [.. Enumerable.Range(0, _numLayers).Select(layer => ListItems(costs.AsSpan(layer * _numHeads, _numHeads)))];
        double low = LeastPrice, high = low;
        Item[] plan = Cheapest(items, low);
        while (!Fits(plan))
        {
            if (!double.IsFinite(high *= 2))
            {
                throw new ArgumentException(string.Create(
                    CultureInfo.InvariantCulture,
                    $"No rules keep to a density of {_options.Density}: at {_profiles[0].Length} tokens the smallest spans are "
                    + $"{_densities[0].Min():0.00} of the blocks of {_profiles[0].BlockSize}."));
            }
            plan = Cheapest(items, high);
        }
        for (int i = 0; i < Bisections && high > low; i++)
        {
            double price = (low + high) / 2;
            Item[] other = Cheapest(items, price);
            if (Fits(other))
                (high, plan) = (price, other);
            else
                low = price;
        }
        while (TryWiden(plan, items))
        {
        }
        return [.. plan.SelectMany((item, layer) => Assign(costs.AsSpan(layer * _numHeads, _numHeads), item))];
    }

    // What a layer may have: of two rules the denser for those heads that it helps most, one head, two, and so on. The price of a rule is
    // the same for every head, so that nothing else can be better. Of those that are as dense, the one that loses least.
    private Item[] ListItems(ReadOnlySpan<double[]> costs)
    {
        var best = new Dictionary<double, Item>();
        for (int sparse = 0; sparse < _rules.Length; sparse++)
        {
            for (int dense = 0; dense < _rules.Length; dense++)
            {
                if (_density[dense] < _density[sparse])
                    continue;
                double cost = 0;
                foreach (double[] head in costs)
                    cost += head[sparse];
                int[] order = HelpedMost(costs, sparse, dense);
                for (int count = 0; count <= order.Length; count++)
                {
                    if (count > 0)
                        cost += costs[order[count - 1]][dense] - costs[order[count - 1]][sparse];
                    var item = new Item(sparse, dense, count, cost, count * _density[dense] + (order.Length - count) * _density[sparse]);
                    double key = Math.Round(item.Density, 9);
                    if (!best.TryGetValue(key, out Item other) || item.Cost < other.Cost)
                        best[key] = item;
                }
            }
        }
        return [.. best.Values.OrderBy(item => item.Density)];
    }

    private static int[] HelpedMost(ReadOnlySpan<double[]> costs, int sparse, int dense)
    {
        double[] gains = new double[costs.Length];
        for (int head = 0; head < gains.Length; head++)
            gains[head] = costs[head][dense] - costs[head][sparse];
        return [.. Enumerable.Range(0, gains.Length).OrderBy(head => gains[head])]; // a stable order
    }

    private static int[] Assign(ReadOnlySpan<double[]> costs, Item item)
    {
        var rules = new int[costs.Length];
        Array.Fill(rules, item.Sparse);
        foreach (int head in HelpedMost(costs, item.Sparse, item.Dense).AsSpan(0, item.Count))
            rules[head] = item.Dense;
        return rules;
    }

    // For each layer what costs least, the price of its density included; of equals the least dense.
    private static Item[] Cheapest(Item[][] items, double price) =>
        [.. items.Select(layer => layer.MinBy(item => item.Cost + price * item.Density))]; // the first, and they ascend

    // The mean density of a plan at one length.
    private double DensityAt(Item[] plan, int profile) =>
        plan.Sum(item => DensityAt(item, profile)) / (_numLayers * _numHeads);

    private double DensityAt(Item item, int profile) =>
        item.Count * _densities[profile][item.Dense] + (_numHeads - item.Count) * _densities[profile][item.Sparse];

    private bool Fits(Item[] plan)
    {
        for (int p = 0; p < _profiles.Length; p++)
        {
            if (DensityAt(plan, p) > _options.Density + Rounding)
                return false;
        }
        return true;
    }

    // Makes one layer denser: as lowers the loss most for the density, or, while too little is used, as raises it least.
    private bool TryWiden(Item[] plan, Item[][] items)
    {
        double[] used = [.. Enumerable.Range(0, _profiles.Length).Select(p => DensityAt(plan, p))];
        bool isSparse = used.Any(density => density < _options.LeastUse * _options.Density - Rounding);
        (double Gain, double Growth, int Layer, Item Item) best = (double.NegativeInfinity, 0, -1, default);
        for (int layer = 0; layer < plan.Length; layer++)
        {
            foreach (Item item in items[layer])
            {
                double growth = item.Density - plan[layer].Density;
                if (growth <= Rounding)
                    continue;
                double gain = (plan[layer].Cost - item.Cost) / growth;
                bool isWanted = gain > LeastPrice || (isSparse && gain >= 0);
                if (isWanted && (gain, -growth).CompareTo((best.Gain, -best.Growth)) > 0 && IsRoomFor(item, layer))
                    best = (gain, growth, layer, item);
            }
        }
        if (best.Layer >= 0)
            plan[best.Layer] = best.Item;
        return best.Layer >= 0;

        bool IsRoomFor(Item item, int layer)
        {
            for (int p = 0; p < used.Length; p++)
            {
                double change = DensityAt(item, p) - DensityAt(plan[layer], p);
                if (used[p] + change / (_numLayers * _numHeads) > _options.Density + Rounding)
                    return false;
            }
            return true;
        }
    }

    // Two rules of a layer, and how many of its heads have the denser; cost and density are sums over the heads.
    private readonly record struct Item(int Sparse, int Dense, int Count, double Cost, double Density);
}
