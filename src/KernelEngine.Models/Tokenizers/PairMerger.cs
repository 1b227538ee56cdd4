namespace KernelEngine.Models.Tokenizers;

/// <summary>
/// Byte-pair merging (Sennrich et al. 2016, arXiv:1508.07909): merges the pair of lowest order, leftmost on ties, until no
/// pair merges. A heap of candidates over a linked list of symbols: O(n log n).
/// </summary>
internal static class PairMerger
{
    private const int None = -1;

    public static void Merge<TRule>(TRule rule, List<Symbol> symbols) where TRule : struct, IMergeRule
    {
        int count = symbols.Count;
        if (count < 2)
            return;
        Symbol[] nodes = [.. symbols];
        var previous = new int[count];
        var next = new int[count];
        for (int i = 0; i < count; i++)
            (previous[i], next[i]) = (i - 1, i + 1 < count ? i + 1 : None);
        var candidates = new PriorityQueue<Candidate, (float Order, int Left)>();
        for (int i = 0; i + 1 < count; i++)
            Consider(rule, nodes, i, i + 1, candidates);
        while (candidates.TryDequeue(out Candidate best, out _))
        {
            int left = best.Left, right = best.Right;
            // A candidate is out of date when either side has merged since; a symbol that merged into its left has length 0.
            if (next[left] != right || nodes[left].Length != best.LeftLength || nodes[right].Length != best.RightLength)
                continue;
            nodes[left] = new Symbol(best.Id, nodes[left].Start, best.LeftLength + best.RightLength);
            nodes[right] = default;
            next[left] = next[right];
            if (next[left] != None)
            {
                previous[next[left]] = left;
                Consider(rule, nodes, left, next[left], candidates);
            }
            next[right] = None;
            if (previous[left] != None)
                Consider(rule, nodes, previous[left], left, candidates);
        }
        symbols.Clear();
        for (int i = 0; i != None; i = next[i])
            symbols.Add(nodes[i]);
    }

    private static void Consider<TRule>(
        TRule rule, Symbol[] nodes, int left, int right, PriorityQueue<Candidate, (float, int)> candidates)
        where TRule : struct, IMergeRule
    {
        if (rule.TryMerge(nodes[left], nodes[right], out int id, out float order))
            candidates.Enqueue(new Candidate(left, right, nodes[left].Length, nodes[right].Length, id), (order, left));
    }

    private readonly record struct Candidate(int Left, int Right, int LeftLength, int RightLength, int Id);
}
