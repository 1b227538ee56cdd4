namespace KernelEngine.Tests.SparseAttention;

/// <summary>The choice of keys against a sort by its rule, on codes that agree often, and what it must hold to whatever the codes.</summary>
[TestFixture("reference")]
[TestFixture("cpu")]
[TestFixture("cpu-3")]
[TestFixture("opencl", Category = "OpenCL")]
[TestFixture("cuda", Category = "Cuda")]
public sealed class SparseSelectPropertyTests(string deviceName)
{
    private const int CodesPerWord = 8;

    // Codes of a few kinds agree often: counts from none to all sub-vectors, and many ties of each.
    [TestCase("h=2 q=40 k=75 m=8 l=20 causal", 3)]
    [TestCase("h=2 q=40 k=75 m=8 l=20 causal earliest", 3)]
    [TestCase("h=2 q=33 k=70 m=1 l=9", 2)]
    [TestCase("h=2 q=33 k=70 m=10 l=9 causal sinks=2 recent=3", 2)]
    [TestCase("h=2 q=20 k=130 m=16 l=40", 4)]
    [TestCase("q=9 k=520 m=32 l=200 causal recent=1", 2)]
    [TestCase("h=4 kv=2 q=30 k=66 m=8 l=15 causal grouped", 3)]
    [TestCase("h=6 kv=1 q=12 k=66 m=16 l=15 grouped earliest", 3)]
    [TestCase("b=2 h=2 q=30 k=66 m=8 l=15 causal lengths", 3)]
    [TestCase("q=40 m=8 l=1 causal", 3)]
    [TestCase("q=40 m=8 l=64 causal", 3)]
    public void KeepsWhatASortKeeps(string text, int kinds)
    {
        var problem = ProblemText.Parse<SparseSelectProblem>(text);
        for (int seed = 1; seed <= 5; seed++)
        {
            Call call = Draw(problem, kinds, seed);
            List<int>[] lists = Run(call);
            for (int list = 0; list < lists.Length; list++)
                Assert.That(lists[list], Is.EqualTo(Expected(call, list)), $"{text}, seed {seed}, list {list}");
        }
    }

    [TestCase("q=70 m=8 l=20 causal")]
    [TestCase("q=70 m=10 l=20 causal earliest")]
    public void EqualCodesLeaveTheLastOrFirstKeys(string text)
    {
        var problem = ProblemText.Parse<SparseSelectProblem>(text);
        List<int>[] lists = Run(Draw(problem, 1, 1));
        for (int row = 0; row < problem.QueryLength; row++)
        {
            int count = Math.Min(problem.Capacity, row + 1);
            Assert.That(lists[row], Is.EqualTo(Enumerable.Range(problem.KeepsEarliest ? 0 : row + 1 - count, count)));
        }
    }

    [TestCase("h=2 q=40 k=77 m=8 causal recent=1")]
    [TestCase("h=4 kv=2 q=40 k=77 m=8 sinks=1 grouped earliest")]
    public void ALongerListKeepsTheKeysOfAShorterOne(string text)
    {
        List<int>[]? shorter = null;
        foreach (int capacity in (int[])[1, 2, 5, 21, 22, 76, 77, 90])
        {
            List<int>[] lists = Run(Draw(ProblemText.Parse<SparseSelectProblem>($"{text} l={capacity}"), 3, 7));
            for (int list = 0; shorter is not null && list < lists.Length; list++)
                Assert.That(shorter[list], Is.SubsetOf(lists[list]), $"{capacity} keys, list {list}");
            shorter = lists;
        }
    }

    // What a causal row keeps does not depend on the keys after it, and codes past the last sub-vector mean nothing.
    [Test]
    public void WhatARowDoesNotSeeDoesNotMatter()
    {
        var problem = ProblemText.Parse<SparseSelectProblem>("q=50 m=10 l=9 causal");
        Call call = Draw(problem, 3, 1);
        List<int>[] before = Run(call);
        for (int key = 30; key < 50; key++)
            call.KeyCodes[2 * key] ^= 0x01230123;
        for (int row = 0; row < 50; row++)
            call.QueryCodes[2 * row + 1] ^= 0x12345600;
        Assert.That(Run(call)[..30], Is.EqualTo(before[..30]));
    }

    [Test]
    public void AKeyWithTheQuerysOwnCodesIsAlwaysKept()
    {
        var problem = ProblemText.Parse<SparseSelectProblem>("q=60 m=8 l=1 causal");
        Call call = Draw(problem, 16, 5);
        call.QueryCodes.CopyTo(call.KeyCodes, 0);
        List<int>[] lists = Run(call);
        for (int row = 0; row < 60; row++)
            Assert.That(lists[row], Is.EqualTo((int[])[row]));
    }

    private sealed record Call(SparseSelectProblem Problem, int[] QueryCodes, int[] KeyCodes, int[] Lengths)
    {
        public int Words => (Problem.SubVectors + CodesPerWord - 1) / CodesPerWord;
    }

    private static Call Draw(SparseSelectProblem problem, int kinds, int seed)
    {
        var random = new Random(seed);
        int words = (problem.SubVectors + CodesPerWord - 1) / CodesPerWord, keys = problem.KvLength;
        return new Call(
            problem, Codes(problem.BatchSize * problem.NumHeads * problem.QueryLength), Codes(problem.BatchSize * problem.NumKvHeads * keys),
            [.. Enumerable.Range(0, problem.BatchSize).Select(b => problem.HasKvLengths ? random.Next(keys + 1) : keys)]);

        int[] Codes(int rows) => [.. Enumerable.Range(0, rows * words).Select(_ => Enumerable.Range(0, CodesPerWord).Sum(i => random.Next(kinds) << 4 * i))];
    }

    private List<int>[] Run(Call call)
    {
        Device device = TestDevices.Get(deviceName);
        SparseSelectProblem problem = call.Problem;
        int batch = problem.BatchSize, rows = problem.QueryLength, capacity = problem.Capacity;
        using Tensor query = Tensor.From<int>(device, call.QueryCodes, batch, problem.NumHeads, rows, call.Words);
        using Tensor key = Tensor.From<int>(device, call.KeyCodes, batch, problem.NumKvHeads, problem.KvLength, call.Words);
        using Tensor lengths = Tensor.From<int>(device, call.Lengths, batch);
        using Tensor columns = Tensor.Allocate(device, DataType.Int32, batch, problem.IndexHeads, rows, capacity);
        using Tensor counts = Tensor.Allocate(device, DataType.Int32, batch, problem.IndexHeads, rows);
        var options = new SparseSelectOptions
        {
            IsCausal = problem.IsCausal,
            KeepsEarliest = problem.KeepsEarliest,
            Sinks = problem.Sinks,
            Recent = problem.Recent,
        };
        KernelEngine.SparseAttention.Select(
            query, key, columns, counts, problem.SubVectors, options, problem.HasKvLengths ? lengths.View : default);
        int[] lists = columns.ToArray<int>(), sizes = counts.ToArray<int>();
        for (int list = 0; list < sizes.Length; list++)
            Assert.That(lists[(list * capacity + sizes[list])..((list + 1) * capacity)], Has.All.EqualTo(-1));
        return [.. sizes.Select((size, list) => lists[(list * capacity)..(list * capacity + size)].ToList())];
    }

    // Sorted by whether a key is kept in any case, matches, and place.
    private static List<int> Expected(Call call, int list)
    {
        SparseSelectProblem problem = call.Problem;
        int row = list % problem.QueryLength, head = list / problem.QueryLength % problem.IndexHeads, batch = list / problem.QueryLength / problem.IndexHeads;
        int length = call.Lengths[batch], seen = problem.IsCausal ? Math.Clamp(row + 1 + length - problem.QueryLength, 0, length) : length;
        return [.. Enumerable.Range(0, seen)
            .OrderByDescending(j => j < problem.Sinks || j >= seen - problem.Recent)
            .ThenByDescending(Matches)
            .ThenBy(j => problem.KeepsEarliest ? j : -j)
            .Take(problem.Capacity).Order()];

        int Matches(int j) => Enumerable.Range(head * problem.HeadsOfList, problem.HeadsOfList).Sum(h =>
        {
            int query = (batch * problem.NumHeads + h) * problem.QueryLength + row;
            int key = (batch * problem.NumKvHeads + h / problem.GroupSize) * problem.KvLength + j;
            return Enumerable.Range(0, problem.SubVectors).Count(m => CodeOf(call.QueryCodes, query, m) == CodeOf(call.KeyCodes, key, m));
        });

        int CodeOf(int[] codes, int at, int m) => codes[at * call.Words + m / CodesPerWord] >> m % CodesPerWord * 4 & 15;
    }
}
