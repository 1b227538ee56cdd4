using KernelEngine.Models;
using KernelEngine.Models.Induction;

namespace KernelEngine.Tests.Models;

/// <summary>A model whose every answer is known: it must find the needle wherever it lies.</summary>
public sealed class InductionModelTests
{
    private static readonly int[] Lengths = [128, 512, 2048];

    public static IEnumerable<TestCaseData> LengthsOnDevices =>
        from data in ModelFixture.Devices
        let device = (string)data.Arguments[0]!
        from length in Lengths
            // Scalar loops in double take seconds a prefill at the longer lengths; the other devices do all.
        where device != "reference" || length <= 512
        select new TestCaseData(device, length, device != "reference" ? 10 : length < 512 ? 10 : 3)
            .SetCategory(TestDevices.CategoryOf(device) ?? "Models");

    [TestCaseSource(nameof(LengthsOnDevices))]
    public void FindsTheNeedleAtEveryDepth(string device, int length, int depths)
    {
        using Session session = Open(device, new InductionModel());
        for (int i = 0; i < depths; i++)
        {
            double depth = (i + 0.5) / depths;
            NeedleResult result = new NeedleTask(length, depth, seed: (ulong)(i + 1)).Run(session.Runner);
            Assert.That(result.IsExact, Is.True, $"depth {depth}: answers {string.Join(' ', result.Outputs.ToArray())}");
            Assert.That(result.MinMargin, Is.GreaterThanOrEqualTo(19.9999), $"depth {depth}");
        }
    }

    [TestCase(DataType.BFloat16)]
    [TestCase(DataType.Float16)]
    public void NarrowWeightsFindTheNeedleToo(DataType type)
    {
        var model = new InductionModel();
        using Session session = Open("reference", model, new WeightOptions { MatrixType = type });
        NeedleResult result = new NeedleTask(256, 0.4).Run(session.Runner);
        Assert.That(result.IsExact, Is.True);
        Assert.That(result.MinMargin, Is.GreaterThanOrEqualTo(19.99));
    }

    [Test]
    public void GroupedQueriesFindTheNeedleToo()
    {
        using Session session = Open("reference", new InductionModel(new InductionModelOptions { GroupSize = 2 }));
        NeedleResult result = new NeedleTask(200, 0.3).Run(session.Runner, questionInPrefill: false);
        Assert.That(result.IsExact, Is.True);
        Assert.That(result.MinMargin, Is.GreaterThanOrEqualTo(19.9999));
    }

    [Test]
    public void GradedAttentionSpreadsAsComputed()
    {
        // The needle's slot holds e^8 / (e^8 + 2e^4 + n - 3) of the attention, each of the others e^-8 or e^-4 of that: with
        // n = 512 the right token's logit is 20 times about 0.83, where the slots' own values add a little.
        using Session session = Open("reference", new InductionModel(InductionModelOptions.Graded));
        NeedleResult result = new NeedleTask(512, 0.5).Run(session.Runner);
        double share = Math.Exp(8) / (Math.Exp(8) + 2 * Math.Exp(4) + 509);
        Assert.That(result.IsExact, Is.True);
        Assert.That(result.MinMargin, Is.EqualTo(20 * share).Within(1.5));
    }

    [Test]
    public void AnswersNotFoundForAKeyThatNeverOccurred()
    {
        using Session session = Open("reference", new InductionModel());
        session.Runner.Prefill([0, 0, 5, 6, 7, 8, 9, 10, 11, 40]);
        Assert.That(session.Runner.SelectGreedy(), Is.Zero);
    }

    [Test]
    public void TheTaskIsLaidOutAsDefined()
    {
        var task = new NeedleTask(100, 0.25, seed: 7, answerLength: 5);
        int[] context = task.Context.ToArray();
        Assert.That(context, Has.Length.EqualTo(99));
        Assert.That(context[..2], Is.EqualTo(new[] { 0, 0 }));
        Assert.That(task.NeedlePosition, Is.EqualTo(2 + 22)); // a quarter of 100 - 2 - 6 - 1 = 91 fillers
        Assert.That(context[task.NeedlePosition], Is.EqualTo(task.Question).And.InRange(32, 47));
        Assert.That(context[(task.NeedlePosition + 1)..(task.NeedlePosition + 6)], Is.EqualTo(task.Answer.ToArray()));
        Assert.That(task.Answer.ToArray(), Is.Unique.And.All.InRange(48, 63));
        Assert.That(context[2..task.NeedlePosition].Concat(context[(task.NeedlePosition + 6)..]), Is.All.InRange(1, 31));
        // The generator's first output, by hand: (7 · 6364136223846793005 + 1442695040888963407) mod 2^64, shifted by 33.
        ulong state = unchecked(7UL * 6364136223846793005UL + 1442695040888963407UL);
        Assert.That(context[2], Is.EqualTo(1 + (int)((state >> 33) % 31)));
    }

    [TestCase(9, 0.5, 5)]
    [TestCase(3, 0.5, 1)]
    public void ShortestTasksAreRefusedOrEmptyOfFillers(int length, double depth, int answerLength)
    {
        if (length < 4 + answerLength)
            Assert.That(() => new NeedleTask(length, depth, 1, answerLength), Throws.TypeOf<ArgumentOutOfRangeException>());
        else
            Assert.That(new NeedleTask(length, depth, 1, answerLength).Context.Length, Is.EqualTo(length - 1));
    }

    private static Session Open(string deviceName, InductionModel model, WeightOptions? options = null) =>
        new(model, ModelFixture.GetDevice(deviceName), options);

    private sealed class Session(InductionModel model, Device device, WeightOptions? options) : IDisposable
    {
        private readonly ModelWeights _weights = ModelWeights.Load(device, model.Description, model, options);

        public ModelRunner Runner => field ??= new ModelRunner(
            model.Description, _weights, new RunnerOptions { InitialCapacity = 4096 });

        public void Dispose()
        {
            Runner.Dispose();
            _weights.Dispose();
        }
    }
}
