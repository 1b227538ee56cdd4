namespace KernelEngine.Tests.KvCache;

/// <summary>Compaction against lists of slots written out here, and the orders that the contract allows and refuses.</summary>
public sealed class KvCacheCompactPropertyTests
{
    private const int PageSize = 4, HeadDim = 5;

    [TestCase("cpu")]
    [TestCase("reference")]
    [TestCase("simulator", Category = "Simulator")]
    [TestCase("opencl", Category = "OpenCL")]
    [TestCase("cuda", Category = "Cuda")]
    public void SlotsBecomeWhatTheyWere(string deviceName)
    {
        Device device = TestDevices.Get(deviceName);
        int[][] lists = [[], [0, 1, 2], [2, 3, 5, 7, 11], [0, 1, 11, 3, 4], [11, 11, 11], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11]];
        foreach (int[] list in lists)
        {
            // Two cells, the second one whole. Key (slot s of cell c) = 100 c + s in every element, value = its negative.
            int[] table = [3, 0, 5, 4, 1, 2], all = [.. Enumerable.Range(0, 12)];
            using Tensor key = Pool(device, table, HeadDim, 1), value = Pool(device, table, HeadDim + 2, -1);
            Compact(device, key, value, table, list, all);
            for (int sign = 1; sign >= -1; sign -= 2)
            {
                int width = sign > 0 ? HeadDim : HeadDim + 2;
                float[] rows = (sign > 0 ? key : value).ToArray<float>();
                for (int j = 0; j < 12; j++)
                {
                    Assert.That(Row(rows, table, 0, j, width), Is.All.EqualTo(sign * (j < list.Length ? list[j] : j)),
                        $"slot {j} of [{string.Join(' ', list)}]");
                    Assert.That(Row(rows, table, 1, j, width), Is.All.EqualTo(sign * (100 + j)));
                }
            }
        }
    }

    [TestCase(new[] { 0, 0 }, "kept[0, 1]")]
    [TestCase(new[] { -1 }, "kept[0, 0]")]
    [TestCase(new[] { 12 }, "kept[0, 0]")]
    [TestCase(new[] { 1, 2, 3, 2 }, "kept[0, 3]")]
    public void ASlotFromALowerOneIsRefused(int[] list, string message)
    {
        Device device = TestDevices.Get("cpu");
        int[] table = [0, 1, 2, 3, 4, 5];
        using Tensor key = Pool(device, table, HeadDim, 1), value = Pool(device, table, HeadDim, 1);
        float[] before = key.ToArray<float>();
        Assert.That(() => Compact(device, key, value, table, list, []), Throws.ArgumentException.With.Message.Contains(message));
        Assert.That(key.ToArray<float>(), Is.EqualTo(before));
    }

    [Test]
    public void PagesOutsideThePoolAreRefusedWhereTheyAreTouched()
    {
        Device device = TestDevices.Get("cpu");
        int[] table = [0, 1, 6, -1, 4, 5];
        using Tensor key = Pool(device, [0, 1, 2, 3, 4, 5], HeadDim, 1), value = Pool(device, [0, 1, 2, 3, 4, 5], HeadDim, 1);
        Assert.That(() => Compact(device, key, value, table, [3, 8], []),
            Throws.ArgumentException.With.Message.Contains("pageTable[0, 2]"));
        Assert.That(() => Compact(device, key, value, table, [], [2]), Throws.ArgumentException.With.Message.Contains("pageTable[1, 0]"));
        Assert.That(() => Compact(device, key, value, table, [3, 7], []), Throws.Nothing);
    }

    [Test]
    public void SizesThatDoNotFitAreRefused()
    {
        Device device = TestDevices.Get("cpu");
        using Tensor key = Tensor.Allocate(device, DataType.Float32, 6, PageSize, 1, HeadDim),
            table = Tensor.Allocate(device, DataType.Int32, 2, 3);
        using Tensor value = Tensor.Allocate(device, DataType.Float32, 6, PageSize, 1, HeadDim),
            counts = Tensor.Allocate(device, DataType.Int32, 2);
        using Tensor narrow = Tensor.Allocate(device, DataType.Int32, 2, 11), kept = Tensor.Allocate(device, DataType.Int32, 2, 12);
        using Tensor halves = Tensor.Allocate(device, DataType.Float16, 6, PageSize, 1, HeadDim),
            scales = Tensor.Allocate(device, DataType.Float32, 6, 1, PageSize);
        Assert.That(() => KvCells.Compact(key, value, table, narrow, counts),
            Throws.ArgumentException.With.Message.Contains("multiple of pageSize=4"));
        Assert.That(() => KvCells.Compact(key, halves, table, kept, counts),
            Throws.ArgumentException.With.Message.Contains("value must hold f32"));
        Assert.That(() => KvCells.Compact(key, value, table, kept, counts, scales),
            Throws.ArgumentException.With.Message.Contains("keyScale"));
        Assert.That(() => KvCells.Compact(key, key, table, kept, counts), Throws.ArgumentException.With.Message.Contains("overlap"));
        Assert.That(() => KvCells.Compact(key, value, table, kept, counts), Throws.Nothing);
    }

    private static void Compact(Device device, Tensor key, Tensor value, int[] table, int[] first, int[] second)
    {
        int[] kept = [.. Enumerable.Repeat(-1, 24)];
        first.CopyTo(kept, 0);
        second.CopyTo(kept, 12);
        using Tensor pages = Tensor.From<int>(device, table, 2, 3), slots = Tensor.From<int>(device, kept, 2, 12);
        using Tensor counts = Tensor.From<int>(device, [first.Length, second.Length], 2);
        KvCells.Compact(key, value, pages, slots, counts);
    }

    private static Tensor Pool(Device device, int[] table, int width, int sign)
    {
        var rows = new float[table.Length * PageSize * width];
        for (int slot = 0; slot < table.Length * PageSize; slot++)
            rows.AsSpan((table[slot / PageSize] * PageSize + slot % PageSize) * width, width).Fill(sign * (slot / 12 * 100 + slot % 12));
        return Tensor.From<float>(device, rows, table.Length, PageSize, 1, width);
    }

    private static float[] Row(float[] rows, int[] table, int cell, int slot, int width) =>
        rows.AsSpan((table[cell * 3 + slot / PageSize] * PageSize + slot % PageSize) * width, width).ToArray();
}
