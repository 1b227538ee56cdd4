using CsCheck;
using KernelEngine.Tests.Layers;

namespace KernelEngine.Tests.KvCache;

/// <summary>The choice of slots against a sort by the rule, with scores that are hard to order, and what it must hold to.</summary>
public sealed class KvCacheSelectPropertyTests
{
    private static readonly Gen<float> Score = Gen.Frequency(
        (6, Gen.Float),
        (6, Gen.Int[-2, 2].Select(i => i / 4f)),
        (1, Any(float.NaN, -float.NaN, BitConverter.Int32BitsToSingle(0x7F800001))),
        (1, Any(float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, float.MinValue)),
        (1, Any(0f, -0f, float.Epsilon, -float.Epsilon, 3 * float.Epsilon)));

    private static IEnumerable<Kernel<KvCacheSelectProblem>> Kernels => HostKernels.Of(KvCells.SelectOperation);

    [TestCaseSource(nameof(Kernels))]
    public void KeepsWhatASortKeeps(Kernel<KvCacheSelectProblem> kernel) => Calls.Sample(
        call => Run(HostKernels.DeviceOf(kernel), call, kernel).SequenceEqual(Expected(call)), iter: 200, seed: "0000KOIXRdR5",
        print: Print);

    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    public void KeepsWhatASortKeepsOnADevice(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        Calls.Sample(call => Run(device, call).SequenceEqual(Expected(call)), iter: 100, seed: "0000KOIXRdR5", print: Print, threads: 1);
    }

    [TestCase("cpu", 1, false)]
    [TestCase("cpu", 3, false)]
    [TestCase("cpu", 3, true)]
    [TestCase("simulator", 3, true, Category = "Simulator")]
    [TestCase("opencl", 3, false, Category = "OpenCL")]
    [TestCase("opencl", 300, true, Category = "OpenCL")]
    public void OfEqualScoresTheLaterSlotsOfTheLowerCellsStay(string deviceName, int cells, bool isPooled)
    {
        const int Slots = 300;
        for (int budget = 0; budget < 4; budget++)
        {
            var call = new Call(new float[cells * Slots], [.. Enumerable.Repeat(Slots, cells)], [.. Enumerable.Repeat(budget, cells)],
                Slots, isPooled);
            int[] actual = Run(TestDevices.Get(deviceName), call);
            Assert.That(actual, Is.EqualTo(Expected(call)));
            if (!isPooled)
                Assert.That(actual.Take(budget), Is.EqualTo(Enumerable.Range(Slots - budget, budget)));
        }
    }

    [Test]
    public void ChoosingAgainAmongTheKeptKeepsThemAll()
    {
        var random = new Random(1);
        float[] scores = [.. Enumerable.Range(0, 1000).Select(_ => (float)random.Next(40))];
        int[] kept = Run(TestDevices.Get("cpu"), new Call(scores, [1000], [300], 1000, false))[..300];
        float[] survivors = [.. kept.Select(i => scores[i])];
        Assert.That(Run(TestDevices.Get("cpu"), new Call(survivors, [300], [300], 300, false))[..300],
            Is.EqualTo(Enumerable.Range(0, 300)));
        Assert.That(survivors.Min(), Is.GreaterThanOrEqualTo(scores.Except(survivors).DefaultIfEmpty(0).Max()));
    }

    [Test]
    public void BadLengthsAndBudgetsAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        foreach ((int length, int budget, string name) in ((int, int, string)[])[(-1, 0, "lengths[1]"), (5, 0, "lengths[1]"),
            (4, -1, "budgets[1]")])
        {
            using Tensor scores = Tensor.From<float>(device, new float[8], 2, 4), kept = Tensor.From<int>(device, new int[8], 2, 4);
            using Tensor lengths = Tensor.From<int>(device, [4, length], 2), budgets = Tensor.From<int>(device, [1, budget], 2);
            using Tensor counts = Tensor.From<int>(device, [7, 7], 2);
            Assert.That(() => KvCells.Select(scores, lengths, budgets, kept, counts), Throws.ArgumentException.With.Message.Contains(name));
            Assert.That(counts.ToArray<int>(), Is.All.EqualTo(7));
        }
    }

    [Test]
    public void ChoosingAllocatesNothing()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor scores = Tensor.Allocate(device, DataType.Float32, 4, 9000), kept = Tensor.Allocate(device, DataType.Int32, 4, 9000);
        using Tensor lengths = Tensor.From<int>(device, [9000, 9000, 100, 0], 4), budgets = Tensor.From<int>(device, [9, 99, 999, 0], 4);
        using Tensor counts = Tensor.Allocate(device, DataType.Int32, 4);
        KvCells.Select(scores, lengths, budgets, kept, counts, isPooled: true);
        KvCells.Select(scores, lengths, budgets, kept, counts);
        long before = GC.GetAllocatedBytesForCurrentThread();
        KvCells.Select(scores, lengths, budgets, kept, counts, isPooled: true);
        KvCells.Select(scores, lengths, budgets, kept, counts);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private static Gen<float> Any(params float[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    private sealed record Call(float[] Scores, int[] Lengths, int[] Budgets, int Slots, bool IsPooled)
    {
        public int Cells => Lengths.Length;
    }

    // Lengths and budgets come often at their ends; some cells are long enough for several threads.
    private static Gen<Call> Calls =>
        Gen.Select(Gen.Int[1, 4], Gen.Frequency((9, Gen.Int[1, 40]), (1, Gen.Const(9000))), Gen.Bool).SelectMany((cells, slots, isPooled) =>
        Gen.Select(
            Score.Array[cells * slots], Gen.OneOf(Gen.Int[0, slots], Gen.Const(slots)).Array[cells],
            Gen.OneOf(Gen.Int[0, 2], Gen.Int[0, slots], Gen.Const(slots + 5)).Array[cells],
            (scores, lengths, budgets) => new Call(scores, lengths, budgets, slots, isPooled)));

    private static string Print(Call call) =>
        $"slots {call.Slots} pooled {call.IsPooled} lengths {string.Join(' ', call.Lengths)} budgets {string.Join(' ', call.Budgets)}";

    // Kept slots of every cell, then their numbers.
    private static int[] Run(Device device, Call call, Kernel<KvCacheSelectProblem>? kernel = null)
    {
        using Tensor scores = Tensor.From<float>(device, call.Scores, call.Cells, call.Slots),
            kept = Tensor.Allocate(device, DataType.Int32, call.Cells, call.Slots);
        using Tensor lengths = Tensor.From<int>(device, call.Lengths, call.Cells),
            budgets = Tensor.From<int>(device, call.Budgets, call.Cells);
        using Tensor counts = Tensor.Allocate(device, DataType.Int32, call.Cells);
        device.Run(
            KvCells.SelectOperation, new KvCacheSelectProblem(call.Cells, call.Slots, call.IsPooled),
            [scores, lengths, budgets, kept, counts], kernel);
        return [.. kept.ToArray<int>(), .. counts.ToArray<int>()];
    }

    private static int[] Expected(Call call)
    {
        var slots = Enumerable.Range(0, call.Cells)
            .SelectMany(c => Enumerable.Range(0, call.Lengths[c]).Select(j =>
                (Cell: c, Slot: j, Score: Ordered(call.Scores[c * call.Slots + j]))))
            .OrderByDescending(s => s.Score).ThenByDescending(s => s.Slot).ThenBy(s => s.Cell).ToList();
        var kept = slots.Where(s => s.Score == double.PositiveInfinity).ToHashSet();
        if (call.IsPooled)
            kept.UnionWith(slots.Take(call.Budgets.Sum()));
        else
            for (int c = 0; c < call.Cells; c++)
                kept.UnionWith(slots.Where(s => s.Cell == c).Take(call.Budgets[c]));
        int[] rows = [.. Enumerable.Repeat(-1, call.Cells * call.Slots)];
        var counts = new int[call.Cells];
        foreach ((int cell, int slot, _) in kept.OrderBy(s => s.Slot))
            rows[cell * call.Slots + counts[cell]++] = slot;
        return [.. rows, .. counts];
    }

    // As doubles −0 equals 0 in a sort too once it is added to 0.
    private static double Ordered(float score) => float.IsNaN(score) ? double.NegativeInfinity : score + 0.0;
}
