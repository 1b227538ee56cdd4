namespace KernelEngine.Tests.SparseAttention;

/// <summary>Laws of attention over lists: what it has in common with dense attention, and that only what is listed matters.</summary>
public sealed class SparseAttentionPropertyTests
{
    private const int Batch = 2, Heads = 4, KvHeads = 2, Rows = 20, Keys = 37, HeadDim = 24, ValueHeadDim = 20;
    private const float Tolerance = 1e-5f;

    public static IEnumerable<TestCaseData> Devices() =>
        from name in (string[])["reference", "cpu", "cpu-3", "opencl", "cuda"]
        let data = new TestCaseData(name)
        select TestDevices.CategoryOf(name) is { } category ? data.SetCategory(category) : data;

    [TestCaseSource(nameof(Devices))]
    public void AllKeysListedIsDenseAttention(string deviceName) =>
        AssertIsDense(deviceName, (_, _) => true, AttentionOptions.Default);

    [TestCaseSource(nameof(Devices))]
    public void ListsOfAWindowAreDenseAttentionWithTheWindow(string deviceName) => AssertIsDense(
        deviceName, (i, j) => j <= i + Keys - Rows && j >= i + Keys - Rows - 6, new AttentionOptions { IsCausal = true, WindowLeft = 6 });

    [TestCaseSource(nameof(Devices))]
    public void ARowWithoutKeysIsZeroAndGivesNothingBack(string deviceName)
    {
        using var call = new SparseAttentionCase(TestDevices.Get(deviceName), Batch, Heads, KvHeads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        call.SetLists((b, h, i, j) => i != 3 && j % 3 == h % 3);
        call.RunForward();
        call.RunBackward();
        float[] output = call.Output.ToArray<float>(), lse = call.Lse.ToArray<float>(), gradQuery = call.GradQuery.ToArray<float>();
        for (int b = 0; b < Batch; b++)
        {
            for (int h = 0; h < Heads; h++)
            {
                int row = (b * Rows + 3) * Heads + h;
                Assert.That(lse[(b * Heads + h) * Rows + 3], Is.EqualTo(float.NegativeInfinity));
                Assert.That(output.AsSpan(row * ValueHeadDim, ValueHeadDim).ToArray(), Is.All.Zero);
                Assert.That(gradQuery.AsSpan(row * HeadDim, HeadDim).ToArray(), Is.All.Zero);
            }
        }
        Assert.That(lse.Count(float.IsFinite), Is.EqualTo(lse.Length - Batch * Heads));
    }

    [TestCaseSource(nameof(Devices))]
    public void WhatIsNotListedDoesNotLeak(string deviceName)
    {
        using var call = new SparseAttentionCase(TestDevices.Get(deviceName), Batch, Heads, KvHeads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        // The last key that a list has is followed by what nobody may read either.
        call.SetLists((b, h, i, j) => j % 5 != 2 && j < 20 + i % 7);
        float[][] expected = call.RunBoth();
        float[] key = call.Key.ToArray<float>(), value = call.Value.ToArray<float>();
        for (int j = 0; j < Keys; j++)
        {
            for (int b = 0; b < Batch && (j % 5 == 2 || j >= 27); b++)
            {
                key.AsSpan((b * Keys + j) * KvHeads * HeadDim, KvHeads * HeadDim).Fill(float.NaN);
                value.AsSpan((b * Keys + j) * KvHeads * ValueHeadDim, KvHeads * ValueHeadDim).Fill(float.PositiveInfinity);
            }
        }
        call.Key.CopyFrom<float>(key);
        call.Value.CopyFrom<float>(value);
        Assert.That(call.RunBoth(), Is.EqualTo(expected));
        Assert.That(expected[3].AsSpan(2 * KvHeads * HeadDim, HeadDim).ToArray(), Is.All.Zero, "the gradient of a key that no row lists");
    }

    [TestCaseSource(nameof(Devices))]
    public void HeadsThatShareListsAreHeadsWithTheSameLists(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        foreach (int indexHeads in (int[])[1, 2])
        {
            using var shared = new SparseAttentionCase(device, Batch, Heads, KvHeads, indexHeads, Rows, Keys, HeadDim, ValueHeadDim);
            using var own = new SparseAttentionCase(device, Batch, Heads, KvHeads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
            shared.SetLists((b, h, i, j) => (j + i + h + b) % 3 != 0);
            own.SetLists((b, h, i, j) => (j + i + h / (Heads / indexHeads) + b) % 3 != 0);
            Assert.That(shared.RunBoth(), Is.EqualTo(own.RunBoth()));
        }
    }

    [TestCaseSource(nameof(Devices))]
    public void PermutedHeadsAndBatchesPermuteTheResults(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using var call = new SparseAttentionCase(device, Batch, Heads, Heads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        using var turned = new SparseAttentionCase(device, Batch, Heads, Heads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        call.SetLists((b, h, i, j) => (j * (h + 2) + i + b) % 4 == 0);
        turned.SetLists((b, h, i, j) => (j * ((h + 1) % Heads + 2) + i + 1 - b) % 4 == 0);
        foreach ((Tensor from, Tensor to) in ((Tensor, Tensor)[])[(call.Query, turned.Query), (call.Key, turned.Key), (call.Value, turned.Value),
            (call.GradOutput, turned.GradOutput)])
        {
            to.CopyFrom<float>(Turn(from.ToArray<float>(), from));
        }
        foreach (SparseAttentionCase each in (SparseAttentionCase[])[call, turned])
        {
            each.GradLse.CopyFrom<float>(new float[Batch * Heads * Rows]);
            each.RunForward();
            each.RunBackward();
        }
        foreach ((Tensor expected, Tensor actual) in ((Tensor, Tensor)[])[(call.Output, turned.Output), (call.GradQuery, turned.GradQuery),
            (call.GradKey, turned.GradKey), (call.GradValue, turned.GradValue)])
        {
            Assert.That(actual.ToArray<float>(), Is.EqualTo(Turn(expected.ToArray<float>(), expected)).Within(Tolerance));
        }
    }

    [TestCase("cpu")]
    [TestCase("cpu-3")]
    public void EveryRunGivesTheSameBits(string deviceName)
    {
        using var call = new SparseAttentionCase(TestDevices.Get(deviceName), 1, 7, 7, 1, 600, 700, HeadDim, ValueHeadDim);
        call.SetLists((b, h, i, j) => (j * 7 + i * 3) % 5 == 0);
        float[][] expected = call.RunBoth();
        for (int run = 1; run < 5; run++)
            Assert.That(call.RunBoth(), Is.EqualTo(expected));
    }

    [TestCase("cpu")]
    [TestCase("reference")]
    public void AGradientIsTheSameWithoutTheOthers(string deviceName)
    {
        using var call = new SparseAttentionCase(TestDevices.Get(deviceName), Batch, Heads, KvHeads, Heads, Rows, Keys, HeadDim, ValueHeadDim);
        call.SetLists((b, h, i, j) => (j + i) % 4 != 0);
        float[][] all = call.RunBoth();
        for (int wanted = 0; wanted < 3; wanted++)
            Assert.That(call.RunOneGradient(wanted), Is.EqualTo(all[2 + wanted]));
    }

    private static void AssertIsDense(string deviceName, Func<int, int, bool> isListed, AttentionOptions options)
    {
        Device device = TestDevices.Get(deviceName);
        using var call = new SparseAttentionCase(device, Batch, Heads, KvHeads, 1, Rows, Keys, HeadDim, ValueHeadDim);
        call.SetLists((b, h, i, j) => isListed(i, j));
        float[][] sparse = call.RunBoth();
        KernelEngine.Attention.Forward(call.Query, call.Key, call.Value, call.Output, options, call.Lse);
        KernelEngine.Attention.Backward(
            call.Query, call.Key, call.Value, call.Output, call.Lse, call.GradOutput,
            new AttentionGradients { Query = call.GradQuery, Key = call.GradKey, Value = call.GradValue }, options, call.GradLse);
        float[][] dense = call.Read();
        for (int i = 0; i < dense.Length; i++)
            Assert.That(sparse[i], Is.EqualTo(dense[i]).Within(Tolerance), $"result {i}");
    }

    // The batch elements in reverse, and each head where the one after it was.
    private static float[] Turn(float[] values, Tensor tensor)
    {
        int tokens = (int)tensor.View[1], dim = (int)tensor.View[3];
        var turned = new float[values.Length];
        for (int row = 0; row < Batch * tokens * Heads; row++)
        {
            int head = row % Heads, token = row / Heads % tokens, batch = row / Heads / tokens;
            int from = ((Batch - 1 - batch) * tokens + token) * Heads + (head + 1) % Heads;
            values.AsSpan(from * dim, dim).CopyTo(turned.AsSpan(row * dim));
        }
        return turned;
    }
}
