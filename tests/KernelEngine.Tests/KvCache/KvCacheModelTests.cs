using Cache = KernelEngine.KvCache;

namespace KernelEngine.Tests.KvCache;

/// <summary>
/// Random sequences of operations on a cache and on lists that say what it must hold: no slot is lost or shared, no page leaks, and the
/// bytes are those of the slots.
/// </summary>
public sealed class KvCacheModelTests
{
    private const int HeadDim = 8, ValueHeadDim = 4;

    // Twice as much divided by 3, 15 or 255 is a number of binary16.
    private const float Element = 255f / 16;

    private static readonly KvLayerShape[] Layers = [new(2, HeadDim, ValueHeadDim), new(3, HeadDim, ValueHeadDim)];

    // 100,000 operations in all. Elements have two values, which codes of any width keep; means of merged slots stay in full.
    [TestCase(1, 1, 0)]
    [TestCase(2, 4, 2)]
    [TestCase(3, 32, 4)]
    [TestCase(4, 7, 8)]
    public void RandomOperationsLeaveWhatTheListsSay(int seed, int pageSize, int codeBits) =>
        Run("cpu", seed, pageSize, codeBits, 25_000, checkEvery: 200);

    [TestCase(5, 4, 0, Category = "OpenCL")]
    [TestCase(6, 4, 4, Category = "OpenCL")]
    public void RandomOperationsOnAGpu(int seed, int pageSize, int codeBits) =>
        Run("opencl", seed, pageSize, codeBits, 200, checkEvery: 10);

    private static void Run(string deviceName, int seed, int pageSize, int codeBits, int operations, int checkEvery)
    {
        Device device = TestDevices.Get(deviceName);
        var random = new Random(seed);
        var options = new KvCacheOptions { PageSize = pageSize, CodeBits = codeBits, FullCount = 3 };
        var pair = new Pair(new Cache(device, Layers, options), NewModel());
        SetRing(pair, random);
        int mostCoded = 0;
        for (int i = 0; i < operations; i++)
        {
            int kind = random.Next(100);
            if (kind < 52)
                Append(pair, random, random.Next(4) == 0 ? random.Next(1, 12) : 1);
            else if (kind < 60)
                Quantize(pair.Cache);
            else if (kind < 75)
                Keep(pair, random);
            else if (kind < 85)
                Merge(pair, random);
            else if (kind < 92)
                Truncate(pair, random);
            else if (kind < 96)
                pair.Cache.Trim();
            else if (kind < 98)
                Fork(ref pair);
            else if (pair.Model[0][0].Slots.Count > 200 || kind == 99)
                Clear(pair, random);
            mostCoded = Math.Max(mostCoded, pair.Cache.Layers.Sum(layer => layer.Cells.Sum(cell => cell.CodedLength)));
            if (i % checkEvery == 0)
                Check(pair, $"after operation {i} of seed {seed}");
        }
        Check(pair, "at the end");
        Assert.That(mostCoded, codeBits > 0 ? Is.GreaterThan(20) : Is.Zero);
        pair.Cache.Clear();
        pair.Cache.Trim();
        Assert.That(pair.Cache.Bytes.PayloadReserved, Is.Zero);
        pair.Cache.Dispose();
    }

    private static CellModel[][] NewModel() => [.. Layers.Select(layer => Enumerable.Range(0, layer.NumKvHeads).Select(_ => new CellModel()).ToArray())];

    // The last cell of the second layer is a ring of 2 + 5.
    private static void SetRing(Pair pair, Random random)
    {
        if (random.Next(2) == 0)
            return;
        pair.Cache.Layers[1].SetRing(2, 2, 5);
        pair.Model[1][2].IsRing = true;
    }

    private static void Append(Pair pair, Random random, int count)
    {
        for (int l = 0; l < Layers.Length; l++)
        {
            int heads = Layers[l].NumKvHeads;
            float[] keys = Numbers(count * heads * HeadDim), values = Numbers(count * heads * ValueHeadDim);
            using Tensor key = Tensor.From<float>(pair.Cache.Device, keys, 1, count, heads, HeadDim);
            using Tensor value = Tensor.From<float>(pair.Cache.Device, values, 1, count, heads, ValueHeadDim);
            pair.Cache.Layers[l].Append(default, key, value, pair.Position);
            pair.Cache.Layers[l].Settle();
            for (int t = 0; t < count; t++)
            {
                for (int h = 0; h < heads; h++)
                {
                    pair.Model[l][h].Append(new Slot(
                        pair.Position + t, keys.AsSpan((t * heads + h) * HeadDim, HeadDim).ToArray(),
                        values.AsSpan((t * heads + h) * ValueHeadDim, ValueHeadDim).ToArray(), 0f));
                }
            }
        }
        pair.Position += count;

        float[] Numbers(int length)
        {
            var numbers = new float[length];
            for (int i = 0; i < length; i++)
                numbers[i] = random.Next(2) == 0 ? Element : -Element;
            return numbers;
        }
    }

    private static void Quantize(Cache cache)
    {
        foreach (KvLayer layer in cache.Layers)
            layer.Quantize();
    }

    private static void Keep(Pair pair, Random random)
    {
        for (int l = 0; l < Layers.Length; l++)
        {
            double share = random.NextDouble();
            var kept = new int[]?[Layers[l].NumKvHeads];
            for (int h = 0; h < kept.Length; h++)
            {
                if (pair.Model[l][h].IsRing || random.Next(4) == 0)
                    continue;
                kept[h] = [.. Enumerable.Range(0, pair.Model[l][h].Slots.Count).Where(_ => random.NextDouble() < share)];
                pair.Model[l][h].Slots = [.. kept[h]!.Select(slot => pair.Model[l][h].Slots[slot])];
            }
            pair.Cache.Layers[l].Keep(kept);
        }
    }

    // Two slots of a cell become their mean and stand for two: the later one is dropped.
    private static void Merge(Pair pair, Random random)
    {
        KvLayer layer = pair.Cache.Layers[0];
        List<Slot> slots = pair.Model[0][1].Slots;
        if (slots.Count < 2)
            return;
        int target = random.Next(slots.Count - 1), member = random.Next(target + 1, slots.Count);
        int capacity = layer.Capacity;
        var targets = new int[2 * capacity];
        var weights = new float[2 * capacity];
        Array.Fill(targets, -1);
        targets[capacity + member] = target;
        (weights[capacity + target], weights[capacity + member]) = (1, 1);
        layer.Merge(targets, weights);
        layer.SetBias(1, target, MathF.Log(2));
        layer.Keep([null, [.. Enumerable.Range(0, slots.Count).Where(slot => slot != member)]]);
        slots[target] = new Slot(
            slots[member].Position, Mean(slots[target].Key, slots[member].Key), Mean(slots[target].Value, slots[member].Value), MathF.Log(2));
        slots.RemoveAt(member);
        // A slot stands for its newest token; those between it and the one that it took over would be out of order.
        int[] ordered = [.. Enumerable.Range(0, slots.Count).Where(slot => slot <= target || slots[slot].Position > slots[target].Position)];
        layer.Keep([null, ordered]);
        pair.Model[0][1].Slots = [.. ordered.Select(slot => slots[slot])];

        static float[] Mean(float[] a, float[] b) => [.. a.Zip(b, (x, y) => (x + y) / 2)];
    }

    private static void Truncate(Pair pair, Random random)
    {
        int position = Math.Max(0, pair.Position - random.Next(6));
        CellModel ring = pair.Model[1][2];
        if (ring.IsRing && ring.HasDropped && ring.Slots.Any(slot => slot.Position >= position))
        {
            Assert.That(() => pair.Cache.Truncate(position), Throws.InvalidOperationException);
            return;
        }
        pair.Cache.Truncate(position);
        foreach (CellModel cell in pair.Model.SelectMany(layer => layer))
            cell.Slots.RemoveAll(slot => slot.Position >= position);
        pair.Position = position;
    }

    // The original goes its own way for a step, and is gone.
    private static void Fork(ref Pair pair)
    {
        var fork = new Pair(pair.Cache.Fork(), [.. pair.Model.Select(layer => layer.Select(cell => cell.Copy()).ToArray())]) { Position = pair.Position };
        Append(pair, new Random(0), 3);
        pair.Cache.Dispose();
        pair = fork;
    }

    private static void Clear(Pair pair, Random random)
    {
        pair.Cache.Clear();
        foreach (CellModel cell in pair.Model.SelectMany(layer => layer))
            (cell.Slots, cell.IsRing, cell.HasDropped) = ([], false, false);
        pair.Position = 0;
        SetRing(pair, random);
    }

    private static void Check(Pair pair, string when)
    {
        long used = 0;
        for (int l = 0; l < Layers.Length; l++)
        {
            KvLayer layer = pair.Cache.Layers[l];
            Assert.That(layer.FindInconsistency(), Is.Null, when);
            KvRows rows = layer.Read();
            float[] keys = rows.Key.ToArray<float>(), values = rows.Value.ToArray<float>();
            int[] pages = rows.PageTable.ToArray<int>();
            int tableWidth = pages.Length / Layers[l].NumKvHeads;
            for (int h = 0; h < Layers[l].NumKvHeads; h++)
            {
                // A ring holds its tokens in any order.
                KvCell cell = layer.Cells[h];
                Slot[] expected = [.. pair.Model[l][h].Slots.OrderBy(slot => slot.Position)];
                int[] order = [.. Enumerable.Range(0, cell.Length).OrderBy(slot => cell.Positions[slot])];
                Assert.That(cell.Length, Is.EqualTo(expected.Length), when);
                used += cell.CodedLength / layer.PageSize * CodedPageBytes(layer.PageSize, pair.Cache.Options.CodeBits);
                used += (cell.Length - cell.CodedLength) * sizeof(float) * (HeadDim + ValueHeadDim);
                for (int i = 0; i < expected.Length; i++)
                {
                    int slot = order[i], row = pages[h * tableWidth + slot / layer.PageSize] * layer.PageSize + slot % layer.PageSize;
                    bool isEqual = cell.Positions[slot] == expected[i].Position && cell.Biases[slot] == expected[i].Bias
                        && keys.AsSpan(row * HeadDim, HeadDim).SequenceEqual(expected[i].Key)
                        && values.AsSpan(row * ValueHeadDim, ValueHeadDim).SequenceEqual(expected[i].Value);
                    Assert.That(isEqual, Is.True, $"layer {l}, cell {h}, slot {slot} {when}");
                }
            }
        }
        KvBytes bytes = pair.Cache.Bytes;
        Assert.That(bytes.PayloadUsed, Is.EqualTo(used), when);
        Assert.That(bytes.PayloadReserved, Is.GreaterThanOrEqualTo(used), when);
    }

    // Codes, and a scale and minimum of two bytes each for every channel of the keys and for every value.
    private static long CodedPageBytes(int pageSize, int bits) =>
        pageSize * (HeadDim + ValueHeadDim) * bits / 8 + 4 * HeadDim + 4 * pageSize;

    private sealed class Pair(Cache cache, CellModel[][] model)
    {
        public Cache Cache { get; } = cache;

        public CellModel[][] Model { get; } = model;

        public int Position { get; set; }
    }

    private sealed record Slot(int Position, float[] Key, float[] Value, float Bias);

    private sealed class CellModel
    {
        public List<Slot> Slots { get; set; } = [];

        public bool IsRing { get; set; }

        public bool HasDropped { get; set; }

        public void Append(Slot slot)
        {
            Slots.Add(slot);
            if (!IsRing || Slots.Count <= 7)
                return;
            Slots.RemoveAt(2);
            HasDropped = true;
        }

        public CellModel Copy() => new() { Slots = [.. Slots], IsRing = IsRing, HasDropped = HasDropped };
    }
}
