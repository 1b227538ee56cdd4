using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheMergeTests : OperationTests<KvCacheMergeCases, KvCacheMergeProblem>
{
    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void TargetsBecomeMeansByHand(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        // Slots 1 and 3 into 0, with weights 1, 2, 3 and 0 for slot 2.
        using Tensor key = Tensor.From<float>(device, [3, 4, 0, 10, 7, 7, 6, 8], 1, 4, 1, 2), value = Tensor.From<float>(device, [1, 2, 9, 3], 1, 4, 1, 1);
        using Tensor pages = Tensor.From<int>(device, [0], 1, 1), lengths = Tensor.From<int>(device, [4], 1);
        using Tensor targets = Tensor.From<int>(device, [-1, 0, -1, 0], 1, 4), weights = Tensor.From<float>(device, [1, 2, 0, 3], 1, 4);
        KvCells.Merge(key, value, pages, lengths, targets, weights);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(key.ToArray<float>(), Is.EqualTo(new[] { (3 + 18) / 6f, (4 + 20 + 24) / 6f, 0, 10, 7, 7, 6, 8 }).Within(1e-6));
            Assert.That(value.ToArray<float>(), Is.EqualTo(new[] { (1 + 4 + 9) / 6f, 2, 9, 3 }).Within(1e-6));
            Assert.That(weights.ToArray<float>(), Is.EqualTo(new[] { 6f, 2, 0, 3 }));
        }
        // By direction: (0.6, 0.8) with weight 1 + 3 and (0, 1) with weight 2; the length stays 5.
        key.CopyFrom<float>([3, 4, 0, 10, 7, 7, 6, 8]);
        weights.CopyFrom<float>([1, 2, 0, 3]);
        KvCells.Merge(key, value, pages, lengths, targets, weights, isByDirection: true);
        double x = 4 * 0.6, y = 4 * 0.8 + 2, norm = Math.Sqrt(x * x + y * y);
        Assert.That(key.ToArray<float>()[..2], Is.EqualTo(new[] { (float)(5 * x / norm), (float)(5 * y / norm) }).Within(1e-5));
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void WhatHasNoDirectionOrNoWeightStays(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        using Tensor key = Tensor.From<float>(device, [0, 0, 3, 4, 1, 1, 5, 5], 1, 4, 1, 2), value = Tensor.From<float>(device, [1, 2, 3, 4], 1, 4, 1, 1);
        using Tensor pages = Tensor.From<int>(device, [0], 1, 1), lengths = Tensor.From<int>(device, [4], 1);
        using Tensor targets = Tensor.From<int>(device, [-1, 0, -1, 2], 1, 4), weights = Tensor.From<float>(device, [1, 1, 0, 0], 1, 4);
        KvCells.Merge(key, value, pages, lengths, targets, weights, isByDirection: true);
        Assert.That(key.ToArray<float>(), Is.EqualTo(new[] { 0f, 0, 3, 4, 1, 1, 5, 5 }), "a key of length 0 keeps it; no weight, no mean");
        Assert.That(value.ToArray<float>(), Is.EqualTo(new[] { 1.5f, 2, 3, 4 }));
    }

    [TestCase(new[] { 1, 2, -1, -1 }, new[] { 1f, 1, 1, 1 }, "targets[0, 0] is slot 1, which is merged into slot 2 itself.")]
    [TestCase(new[] { -1, 4, -1, -1 }, new[] { 1f, 1, 1, 1 }, "targets[0, 1] must be a slot below lengths[0]=4, or −1, but is 4.")]
    [TestCase(new[] { -1, 0, -1, -1 }, new[] { 1f, float.NaN, 1, 1 }, "weights[0, 1] must be finite and not negative.")]
    public void ImpossibleTargetsAreRefusedBeforeAnythingIsWritten(int[] into, float[] shares, string message)
    {
        Device device = TestDevices.Get("cpu");
        using Tensor key = Tensor.From<float>(device, [1, 2, 3, 4], 1, 4, 1, 1), value = Tensor.From<float>(device, [1, 2, 3, 4], 1, 4, 1, 1);
        using Tensor pages = Tensor.From<int>(device, [0], 1, 1), lengths = Tensor.From<int>(device, [4], 1);
        using Tensor targets = Tensor.From<int>(device, into, 1, 4), weights = Tensor.From<float>(device, shares, 1, 4);
        Assert.That(() => KvCells.Merge(key, value, pages, lengths, targets, weights), Throws.ArgumentException.With.Message.StartsWith(message));
        Assert.That(key.ToArray<float>(), Is.EqualTo(new[] { 1f, 2, 3, 4 }));
    }
}
