using KernelEngine.Models.Evaluation;
using KernelEngine.Models.Induction;
using KernelEngine.Tests.Models;

namespace KernelEngine.Tests.KvCache;

/// <summary>
/// Which needles each policy loses, on the induction model with its retrieval head compressed: computed independently for texts of
/// 512 tokens and answers of 5. One answer of five comes from before the eviction when the question is part of the prompt.
/// </summary>
public sealed class NeedleTableTests
{
    private const int Seeds = 8;

    private static readonly int[] WholeNeedle = [0, 1];

    // Policy, budget, then with the question in the prompt at depths 0.3 and 0.7, and without it at the same.
    private static readonly (string Policy, int Budget, double[] Accuracy)[] Table =
    [
        ("full", 512, [1, 1, 1, 1]),
        ("streaming", 64, [0.2, 0.2, 0, 0]),
        ("streaming", 256, [0.2, 1, 0, 1]),
        ("tova", 64, [0.2, 0.2, 0, 0]),
        ("tova", 256, [0.2, 1, 0, 1]),
        ("h2o", 64, [0.2, 0.2, 0, 0]),
        ("h2o", 128, [0.2, 0.2, 0, 0]),
        ("h2o", 256, [0.2, 0.2, 0, 0]),
        ("h2o", 384, [0.2, 1, 0, 1]),
        ("h2o", 448, [0.2, 1, 0, 1]),
    ];

    public static IEnumerable<TestCaseData> RowsOnDevices =>
        from data in ModelFixture.Devices
        let device = (string)data.Arguments[0]!
        where device is not ("reference" or "cpu-3")
        from row in Table
            // One thread that plays a GPU takes seconds a text: the rows with other kernels each.
        where device == "cpu" || row.Budget == 256
        select new TestCaseData(device, row.Policy, row.Budget, row.Accuracy).SetCategory(TestDevices.CategoryOf(device) ?? "Models");

    [TestCaseSource(nameof(RowsOnDevices))]
    public void PoliciesLoseTheNeedlesThatTheyMust(string device, string policy, int budget, double[] accuracy)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice(device));
        Assert.That(Accuracies(needles, () => Create(policy, budget)), Is.EqualTo(accuracy).Within(1e-9));
    }

    // A text may bring more by chance, where what follows the needle was pointed at too.
    [TestCase(1, 1)]
    [TestCase(3, 2)]
    [TestCase(5, 3)]
    [TestCase(7, 4)]
    [TestCase(9, 5)]
    public void ASmoothedWindowKeepsHalfItsWidthOfTheNeedle(int kernel, int prefix)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"));
        var policy = new SnapKv(new UniformBudget(64), 16, kernel) { Phases = KvPhases.PrefillEnd, Applies = IsRetrieval };
        foreach (double depth in (double[])[0.3, 0.7])
        {
            int[] prefixes = [.. Enumerable.Range(1, Seeds).Select(seed => needles.RunOne(policy, new NeedleTask(512, depth, (ulong)seed)).PrefixLength)];
            Assert.That(prefixes, Has.All.GreaterThanOrEqualTo(prefix), $"depth {depth}");
            Assert.That(prefixes.Count(length => length == prefix), Is.GreaterThanOrEqualTo(Seeds - 1), $"depth {depth}");
        }
        Assert.That(needles.Run(_ => policy, 0.3, Seeds, questionInPrefill: false).Accuracy, Is.LessThanOrEqualTo(0.05));
    }

    // In a text eight times as long the same budgets lose the same needles, and a budget of the same share keeps what it kept.
    [TestCase("full", 4096, 1, 1)]
    [TestCase("streaming", 256, 0, 0)]
    [TestCase("streaming", 2048, 0, 1)]
    [TestCase("tova", 2048, 0, 1)]
    [TestCase("h2o", 2048, 0, 0)]
    [TestCase("h2o", 3072, 0, 1)]
    public void LongTextsLoseTheSameNeedles(string policy, int budget, double early, double late)
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"), 4096);
        double[] accuracy = [.. from depth in (double[])[0.3, 0.7]
                                select needles.Run(_ => Create(policy, budget), depth, seeds: 1, questionInPrefill: false).Accuracy];
        Assert.That(accuracy, Is.EqualTo((double[])[early, late]).Within(1e-9));
    }

    [TestCase(64)]
    [TestCase(128)]
    [TestCase(256)]
    public void RandomSlotsKeepTheirShare(int budget)
    {
        const int Texts = 40;
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"));
        double with = 0, without = 0;
        for (int seed = 1; seed <= Texts; seed++)
        {
            var task = new NeedleTask(512, 0.1 + 0.8 * seed / Texts, (ulong)seed);
            var policy = new RandomSlots(new UniformBudget(budget), seed) { Phases = KvPhases.PrefillEnd, Applies = IsRetrieval };
            with += needles.RunOne(policy, task).TokenAccuracy / Texts;
            without += needles.RunOne(policy, task, questionInPrefill: false).TokenAccuracy / Texts;
        }
        // 200 answers: three standard deviations of a share are below 0.11.
        Assert.That(without, Is.EqualTo((budget - 2) / 510.0).Within(0.11));
        Assert.That(with, Is.EqualTo((1 + 4 * budget / 512.0) / 5).Within(0.11));
    }

    [Test]
    public void PoliciesKeepEverythingWhereItMatters()
    {
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"));
        foreach (KvPolicy policy in (KvPolicy[])
            [
                new DuoAttention(IsRetrieval, sinkCount: 4, recentCount: 8),
                new RazorAttention(IsRetrieval, leastRecent: 64, ratio: int.MaxValue),
                new SelectiveValues(count: 2),
                new MixtureOfSpans((layer, head) => IsRetrieval(layer, head) ? double.PositiveInfinity : 128, length: 512),
            ])
        {
            Assert.That(Accuracies(needles, () => policy), Has.All.EqualTo(1.0), policy.Name);
        }
    }

    // The two first tokens, the five of the needle and the last one suffice.
    [Test]
    public void EightSlotsSufficeWhenTheyAreTheRightOnes()
    {
        var task = new NeedleTask(512, 0.3, 5);
        using var needles = new NeedleEvaluation(ModelFixture.GetDevice("cpu"));
        int first = task.NeedlePosition + 1, count = task.Answer.Length;
        int[] slots = [.. WholeNeedle, .. Enumerable.Range(first, count)];
        var policy = new ChosenSlots(slots);
        Assert.That(needles.RunOne(policy, task).IsExact, Is.True);
        Assert.That(needles.RunOne(policy, task, questionInPrefill: false).IsExact, Is.True);
    }

    private static bool IsRetrieval(int layer, int head) => (layer, head) == (1, 0);

    private static double[] Accuracies(NeedleEvaluation needles, Func<KvPolicy> create) =>
    [
        .. from questionInPrefill in (bool[])[true, false]
           from depth in (double[])[0.3, 0.7]
           select needles.Run(_ => create(), depth, Seeds, questionInPrefill).Accuracy,
    ];

    private static KvPolicy Create(string policy, int budget) => KvPolicyList.Create(policy, new KvPolicySettings
    {
        Budget = budget,
        Phases = KvPhases.PrefillEnd,
        Applies = IsRetrieval,
    });

    private sealed class ChosenSlots(int[] slots) : KvPolicy
    {
        public override string Name => "chosen";

        public override void Evict(KvStep step)
        {
            if (step.Phase != KvPhases.PrefillEnd || step.Layer.Index != 1)
                return;
            step.Layer.Keep([[.. slots, step.Layer.Cells[0].Length - 1], null, null, null]);
        }
    }
}
