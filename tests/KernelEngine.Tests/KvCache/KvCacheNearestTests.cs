using KernelEngine.Tests.Cases;

namespace KernelEngine.Tests.KvCache;

public sealed class KvCacheNearestTests : OperationTests<KvCacheNearestCases, KvCacheNearestProblem>
{
    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("simulator", Category = "Simulator")]
    public void DirectionsAreComparedByHand(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        // Keys and values of the slots 0 to 5; slots 1, 2, 4 and 5 are centres, 0 and 3 look for one.
        using Tensor key = Tensor.From<float>(device, [1, 0, 2, 0, 1, 1, 0, 0, -1, 0, 3, 0], 1, 6, 1, 2);
        using Tensor value = Tensor.From<float>(device, [1, 1, 1, 0, 5, 5, 1, 0, -2, -2, 4, 0], 1, 6, 1, 2);
        using Tensor pages = Tensor.From<int>(device, [0], 1, 1), centreCounts = Tensor.From<int>(device, [4], 1), candidateCounts = Tensor.From<int>(device, [2], 1);
        using Tensor centres = Tensor.From<int>(device, [1, 2, 4, 5, 0, 0], 1, 6), candidates = Tensor.From<int>(device, [0, 3, 0, 0, 0, 0], 1, 6);
        using Tensor nearest = Tensor.Allocate(device, DataType.Int32, 1, 6), similarity = Tensor.Allocate(device, DataType.Float32, 1, 6);
        KvCells.Nearest(key, value, pages, centres, centreCounts, candidates, candidateCounts, nearest, similarity, 0.5f);
        // With slot 0: slot 1 and 5: 1 · √½; slot 2: √½ · 1, a tie in exact numbers; slot 4: opposite twice, which is not alike.
        float[] similarities = similarity.ToArray<float>();
        Assert.That(similarities[0], Is.EqualTo(Math.Sqrt(0.5)).Within(1e-6));
        Assert.That(nearest.ToArray<int>()[0], Is.AnyOf(2, 5));
        Assert.That(nearest.ToArray<int>()[1..], Has.All.EqualTo(-1), "a key of norm 0 is like none, and there are two candidates");
        Assert.That(similarities[1..], Has.All.Zero);
        // Without slot 2 the tie is between equals: the larger slot.
        centres.CopyFrom<int>([1, 4, 5, 0, 0, 0]);
        centreCounts.CopyFrom<int>([3]);
        KvCells.Nearest(key, value, pages, centres, centreCounts, candidates, candidateCounts, nearest, similarity, 0.5f);
        Assert.That(nearest.ToArray<int>()[0], Is.EqualTo(5));
    }
}
