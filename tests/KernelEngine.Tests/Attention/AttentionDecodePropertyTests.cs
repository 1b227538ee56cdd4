namespace KernelEngine.Tests.Attention;

/// <summary>
/// Laws of the cache that decoding streams: where a key lies, what lies beside it, and how it is hidden do not change what is
/// computed. The caches are long enough to be cut over threads.
/// </summary>
[TestFixtureSource(nameof(Targets))]
public sealed class AttentionDecodePropertyTests(AttentionTarget target)
{
    // Sums of a few hundred terms of order one in another order.
    private const double Rounding = 2e-5;

    private static readonly AttentionProblem s_problem = new(2, 6, 2, 2, 700, 40, 24);

    private static IEnumerable<TestFixtureData> Targets() =>
        AttentionTarget.All().Where(f => f.Arguments[0] is AttentionTarget t
            && t.Operation == KernelEngine.Attention.DecodeOperation && TestDevices.KindOf(t.DeviceName) == DeviceKinds.Cpu);

    [TestCase(1, false)]
    [TestCase(7, true)]
    [TestCase(16, false)]
    [TestCase(16, true)]
    [TestCase(300, true)]
    public void PagesAreContiguousMemory(int pageSize, bool isHeadPaged)
    {
        AttentionProblem problem = s_problem;
        (float[] q, float[] k, float[] v) = Inputs(problem);
        Result contiguous = Run(problem, Operands(q, k, v));
        int pages = (problem.KvLength + pageSize - 1) / pageSize, tables = problem.BatchSize * problem.NumKvHeads;
        for (int seed = 1; seed <= 2; seed++)
        {
            // Pages of all heads are shared by the heads of a sequence; those of a head are its own. A tenth is no one's.
            int used = pages * (isHeadPaged ? tables : problem.BatchSize);
            int[] order = [.. Enumerable.Range(0, used + used / 10 + 1)];
            new Random(seed).Shuffle(order);
            int[] table = [.. Enumerable.Range(0, tables * pages).Select(i => isHeadPaged
                ? order[i] : order[i / pages / problem.NumKvHeads * pages + i % pages])];
            AttentionProblem paged = problem with { PageSize = pageSize, PoolPages = order.Length, IsHeadPaged = isHeadPaged };
            Result result = Run(paged, Operands(q, Pool(k, problem.HeadDim), Pool(v, problem.ValueHeadDim), (AttentionProblem.PageTable, table)));
            Assert.That(result.Output, Is.EqualTo(contiguous.Output), $"page table {seed}");
            Assert.That(result.Lse, Is.EqualTo(contiguous.Lse));

            float[] Pool(float[] rows, int width)
            {
                int heads = isHeadPaged ? 1 : problem.NumKvHeads;
                float[] pool = new float[order.Length * pageSize * heads * width];
                Array.Fill(pool, float.NaN);
                for (int b = 0; b < problem.BatchSize; b++)
                {
                    for (int j = 0; j < problem.KvLength; j++)
                    {
                        for (int h = 0; h < problem.NumKvHeads; h++)
                        {
                            int page = table[(b * problem.NumKvHeads + h) * pages + j / pageSize];
                            int row = (page * pageSize + j % pageSize) * heads + (isHeadPaged ? 0 : h);
                            Array.Copy(rows, ((b * problem.KvLength + j) * problem.NumKvHeads + h) * width, pool, row * width, width);
                        }
                    }
                }
                return pool;
            }
        }
    }

    [TestCase(0, 3, 700, 650)]
    [TestCase(699, 0, 1, 128)]
    [TestCase(129, 400, 399, 0)]
    public void ALengthCutsAHeadShort(params int[] lengths)
    {
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        int[] unused = [.. Enumerable.Range(0, problem.BatchSize * problem.KvLength * problem.NumKvHeads).Where(row => KeyOf(problem, row) >= lengths[HeadOf(problem, row)])];
        Result result = Run(problem with { Operands = AttentionOperands.KvLengths }, Operands(
            q, WithNaN(k, unused, problem.HeadDim), WithNaN(v, unused, problem.ValueHeadDim), (AttentionProblem.KvLengths, lengths)));
        int group = problem.GroupSize;
        for (int head = 0; head < lengths.Length; head++)
        {
            int b = head / problem.NumKvHeads, h = head % problem.NumKvHeads;
            var alone = new AttentionProblem(1, group, 1, problem.QueryLength, lengths[head], problem.HeadDim, problem.ValueHeadDim, IsCausal: true);
            float[] keys = Select(k, problem.HeadDim, row => HeadOf(problem, row) == head && KeyOf(problem, row) < lengths[head]);
            float[] values = Select(v, problem.ValueHeadDim, row => HeadOf(problem, row) == head && KeyOf(problem, row) < lengths[head]);
            float[] queries = Select(q, problem.HeadDim, row => row / problem.NumHeads / problem.QueryLength == b && row % problem.NumHeads / group == h);
            Result expected = Run(alone, Operands(queries, keys, values));
            float[] output = Select(result.Output, problem.ValueHeadDim, row => row / problem.NumHeads / problem.QueryLength == b && row % problem.NumHeads / group == h);
            int firstLse = (b * problem.NumHeads + h * group) * problem.QueryLength;
            Assert.That(output, Is.EqualTo(expected.Output).Within(Rounding), $"head {h} of sequence {b}");
            Assert.That(result.Lse[firstLse..(firstLse + group * problem.QueryLength)], Is.EqualTo(expected.Lse).Within(Rounding));
        }
    }

    [TestCase(BroadcastShape.Keys)]
    [TestCase(BroadcastShape.Batch | BroadcastShape.Heads | BroadcastShape.Rows | BroadcastShape.Keys)]
    public void AMaskTakesKeysAway(BroadcastShape shape)
    {
        // Every third key is hidden, and 200 in a row: hidden ones hold NaN, and the rest alone gives the same.
        AttentionProblem problem = s_problem;
        (float[] q, float[] k, float[] v) = Inputs(problem);
        AttentionProblem masked = problem with { MaskShape = shape };
        bool[] mask = [.. Enumerable.Range(0, (int)masked.GetOperand(AttentionProblem.Mask).Shape.Count).Select(i => IsSeen(i % problem.KvLength))];
        int[] hidden = [.. Enumerable.Range(0, problem.BatchSize * problem.KvLength * problem.NumKvHeads).Where(row => !IsSeen(KeyOf(problem, row)))];
        Result result = Run(masked, Operands(
            q, WithNaN(k, hidden, problem.HeadDim), WithNaN(v, hidden, problem.ValueHeadDim), (AttentionProblem.Mask, mask)));
        Result expected = Run(problem with { KvLength = Enumerable.Range(0, problem.KvLength).Count(IsSeen) }, Operands(
            q, Select(k, problem.HeadDim, row => IsSeen(KeyOf(problem, row))), Select(v, problem.ValueHeadDim, row => IsSeen(KeyOf(problem, row)))));
        Assert.That(result.Output, Is.EqualTo(expected.Output).Within(Rounding));
        Assert.That(result.Lse, Is.EqualTo(expected.Lse).Within(Rounding));

        static bool IsSeen(int key) => key % 3 != 1 && key is < 300 or >= 500;
    }

    [Test]
    public void AKeyHiddenFromOneRowDoesNotReachIt()
    {
        // Rows of one group see different keys; what row 0 of head 0 does not see is poisoned, and only the others notice.
        AttentionProblem problem = s_problem with { BatchSize = 1, MaskShape = BroadcastShape.Heads | BroadcastShape.Rows | BroadcastShape.Keys };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        bool[] mask = [.. Enumerable.Range(0, problem.NumHeads * problem.QueryLength * problem.KvLength).Select(i => i >= problem.KvLength || i % 5 != 2)];
        int[] hidden = [.. Enumerable.Range(0, problem.KvLength * problem.NumKvHeads).Where(row => KeyOf(problem, row) % 5 == 2 && row % problem.NumKvHeads == 0)];
        Result clean = Run(problem, Operands(q, k, v, (AttentionProblem.Mask, mask)));
        Result poisoned = Run(problem, Operands(q, k, WithNaN(v, hidden, problem.ValueHeadDim), (AttentionProblem.Mask, mask)));
        for (int row = 0; row < problem.QueryLength * problem.NumHeads; row++)
        {
            Range place = (row * problem.ValueHeadDim)..((row + 1) * problem.ValueHeadDim);
            if (row == 0 || row % problem.NumHeads >= problem.GroupSize)
                Assert.That(poisoned.Output[place], Is.EqualTo(clean.Output[place]), $"row {row} sees no poison");
            else
                Assert.That(poisoned.Output[place], Has.All.NaN, $"row {row} sees it");
        }
    }

    [TestCase(1, false)]
    [TestCase(7, false)]
    [TestCase(7, true)]
    public void TheTreeMaskOfAChainIsTheCausalMask(int queryLength, bool isTopLeft)
    {
        AttentionProblem problem = s_problem with { QueryLength = queryLength, Alignment = isTopLeft ? CausalAlignment.TopLeft : CausalAlignment.BottomRight };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        int offset = isTopLeft ? 0 : problem.KvLength - queryLength;
        bool[] mask = [.. Enumerable.Range(0, queryLength * problem.KvLength).Select(i => i % problem.KvLength <= i / problem.KvLength + offset)];
        Result causal = Run(problem with { IsCausal = true }, Operands(q, k, v));
        Result tree = Run(problem with { MaskShape = BroadcastShape.Rows | BroadcastShape.Keys }, Operands(q, k, v, (AttentionProblem.Mask, mask)));
        Assert.That(tree.Output, Is.EqualTo(causal.Output).Within(Rounding));
        Assert.That(tree.Lse, Is.EqualTo(causal.Lse).Within(Rounding));
    }

    [TestCase(699)]
    [TestCase(700)]
    [TestCase(int.MaxValue)]
    public void AWindowAsLongAsTheCacheIsNone(int window)
    {
        AttentionProblem problem = s_problem with { QueryLength = 1, IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        Result all = Run(problem, Operands(q, k, v));
        Result windowed = Run(problem with { WindowLeft = window }, Operands(q, k, v));
        Assert.That(windowed.Output, Is.EqualTo(all.Output).Within(Rounding));
        Assert.That(windowed.Lse, Is.EqualTo(all.Lse).Within(Rounding));
    }

    [TestCase(0, 0)]
    [TestCase(255, 4)]
    [TestCase(30, 600)]
    public void NothingOutsideAWindowIsRead(int window, int sinks)
    {
        AttentionProblem problem = s_problem with { IsCausal = true, WindowLeft = window, SinkCount = sinks };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        int first = problem.KvLength - problem.QueryLength - window;
        int[] outside = [.. Enumerable.Range(0, problem.BatchSize * problem.KvLength * problem.NumKvHeads)
            .Where(row => KeyOf(problem, row) >= sinks && KeyOf(problem, row) < first)];
        Result clean = Run(problem, Operands(q, k, v));
        Result poisoned = Run(problem, Operands(q, WithNaN(k, outside, problem.HeadDim), WithNaN(v, outside, problem.ValueHeadDim)));
        Assert.That(clean.Output, Has.None.NaN);
        Assert.That(poisoned.Output, Is.EqualTo(clean.Output));
        Assert.That(poisoned.Lse, Is.EqualTo(clean.Lse));
    }

    [Test]
    public void AWindowOfAHeadIsTheWindowOfAll()
    {
        // Heads of one group with windows of their own against all heads with one of them.
        AttentionProblem problem = s_problem with { IsCausal = true };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        (int Window, int Sinks)[] windows = [(-1, 0), (100, 4), (300, 0), (5, 250), (0, 0), (650, 100)];
        int[] headWindows = [.. windows.SelectMany(w => new[] { w.Window, w.Sinks })];
        Result mixed = Run(problem with { Operands = AttentionOperands.HeadWindows }, Operands(q, k, v, (AttentionProblem.HeadWindows, headWindows)));
        for (int head = 0; head < problem.NumHeads; head++)
        {
            AttentionProblem same = problem with { WindowLeft = windows[head].Window, SinkCount = windows[head].Window < 0 ? 0 : windows[head].Sinks };
            Result expected = Run(same, Operands(q, k, v));
            float[] OfHead(float[] output) => Select(output, problem.ValueHeadDim, row => row % problem.NumHeads == head);
            Assert.That(OfHead(mixed.Output), Is.EqualTo(OfHead(expected.Output)).Within(Rounding), $"head {head}");
        }
    }

    [TestCase(0, 0)]
    [TestCase(16, 100)]
    public void BytesAreTheNumbersTheyStandFor(int pageSize, int pool)
    {
        // Integers scaled by powers of two are the same numbers in i8 storage and in f32; the order of the sums may differ.
        AttentionProblem problem = s_problem with { PageSize = pageSize, PoolPages = pool };
        AttentionProblem bytes = problem with { KvType = DataType.Int8 };
        var random = new Random(9);
        float[] q = Normal(1, (int)problem.GetOperand(AttentionProblem.Query).Shape.Count);
        sbyte[] k = Bytes(AttentionProblem.Key), v = Bytes(AttentionProblem.Value);
        float[] keyScale = Scales(AttentionProblem.KeyScale), valueScale = Scales(AttentionProblem.ValueScale);
        (int, Array)[] table = pageSize == 0 ? [] : [(AttentionProblem.PageTable, Enumerable.Range(0, (int)problem.GetOperand(AttentionProblem.PageTable).Shape.Count)
            .Select(_ => random.Next(pool)).ToArray())];
        Result narrow = Run(bytes, Operands(q, k, v, [(AttentionProblem.KeyScale, keyScale), (AttentionProblem.ValueScale, valueScale), .. table]));
        Result wide = Run(problem, Operands(q, Widened(k, keyScale, problem.HeadDim), Widened(v, valueScale, problem.ValueHeadDim), table));
        Assert.That(narrow.Output, Is.EqualTo(wide.Output).Within(2e-4), "values are up to 8");
        Assert.That(narrow.Lse, Is.EqualTo(wide.Lse).Within(2e-4));

        sbyte[] Bytes(int index) => [.. Enumerable.Range(0, (int)bytes.GetOperand(index).Shape.Count).Select(_ => (sbyte)random.Next(-127, 128))];
        float[] Scales(int index) => [.. Enumerable.Range(0, (int)bytes.GetOperand(index).Shape.Count).Select(_ => MathF.ScaleB(1, -random.Next(4, 8)))];
        float[] Widened(sbyte[] stored, float[] scales, int width) => [.. stored.Select((x, i) =>
        {
            // Stored by key and head, scaled by head and key, of a sequence or a page.
            int row = i / width, keys = pageSize == 0 ? problem.KvLength : pageSize, heads = problem.NumKvHeads;
            return x * scales[(row / heads / keys * heads + row % heads) * keys + row / heads % keys];
        })];
    }

    [Test]
    public void HalfPrecisionIsTheNumbersItStandsFor([Values(1, 2, 3, 4)] int groupSize, [Values] bool isFinite)
    {
        // Infinities and NaN take another way through the kernel than finite numbers.
        AttentionProblem problem = s_problem with { NumHeads = 2 * groupSize, QueryLength = 1 };
        (float[] q, float[] k, float[] v) = Inputs(problem);
        Half[] keys = Array.ConvertAll(k, x => (Half)x), values = Array.ConvertAll(v, x => (Half)x);
        if (!isFinite)
        {
            values[^1] = Half.NegativeInfinity;
            values[300] = Half.PositiveInfinity;
            keys[^problem.HeadDim] = Half.NaN;
        }
        Result narrow = Run(problem with { KvType = DataType.Float16 }, Operands(q, keys, values));
        Result wide = Run(problem, Operands(q, Array.ConvertAll(keys, x => (float)x), Array.ConvertAll(values, x => (float)x)));
        Assert.That(wide.Output.All(float.IsFinite), Is.EqualTo(isFinite));
        Assert.That(narrow.Output, Is.EqualTo(wide.Output).Within(Rounding));
        Assert.That(narrow.Lse, Is.EqualTo(wide.Lse).Within(Rounding));
    }

    [Test]
    public void TheWorkspaceDoesNotGrowWithTheCache()
    {
        var kernel = (CpuKernel<AttentionProblem>)target.Kernel;
        var problem = new AttentionProblem(1, 32, 8, 1, 1_000_000, 128, 128);
        Assert.That(kernel.GetWorkspaceBytes(problem, 16), Is.InRange(1, 1 << 20));
        Assert.That(kernel.GetWorkspaceBytes(problem with { KvLength = 10_000 }, 16), Is.EqualTo(kernel.GetWorkspaceBytes(problem, 16)));
    }

    private Result Run(in AttentionProblem problem, Array?[] operands)
    {
        if (target.Kernel.WhyUnsupported(problem) is { } reason)
            Assert.Ignore(reason);
        Device device = TestDevices.Get(target.DeviceName);
        AttentionProblem self = problem;
        Tensor?[] tensors = [.. operands.Select((data, i) => Create(device, self.GetOperand(i), data))];
        try
        {
            device.Run(target.Operation, problem, [.. tensors.Select(t => t?.View ?? default)], target.Kernel);
            return new Result(tensors[AttentionProblem.Output]!.ToArray<float>(), tensors[AttentionProblem.Lse]!.ToArray<float>());
        }
        finally
        {
            foreach (Tensor? tensor in tensors)
                tensor?.Dispose();
        }
    }

    private static Array?[] Operands(Array query, Array key, Array value, params (int Index, Array Data)[] others)
    {
        var operands = new Array?[AttentionProblem.Count];
        (operands[AttentionProblem.Query], operands[AttentionProblem.Key], operands[AttentionProblem.Value]) = (query, key, value);
        foreach ((int index, Array data) in others)
            operands[index] = data;
        return operands;
    }

    private static (float[] Query, float[] Key, float[] Value) Inputs(in AttentionProblem problem) => (
        Normal(1, (int)problem.GetOperand(AttentionProblem.Query).Shape.Count),
        Normal(2, (int)problem.GetOperand(AttentionProblem.Key).Shape.Count),
        Normal(3, (int)problem.GetOperand(AttentionProblem.Value).Shape.Count));

    // Sums of twelve uniform numbers: near enough to normal.
    private static float[] Normal(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Enumerable.Range(0, 12).Sum(_ => random.NextDouble()) - 6))];
    }

    // Rows of keys and values lie by sequence, key and head.
    private static int KeyOf(in AttentionProblem problem, int row) => row / problem.NumKvHeads % problem.KvLength;

    private static int HeadOf(in AttentionProblem problem, int row) =>
        row / problem.NumKvHeads / problem.KvLength * problem.NumKvHeads + row % problem.NumKvHeads;

    private static float[] WithNaN(float[] values, int[] rows, int width)
    {
        float[] result = [.. values];
        foreach (int row in rows)
            result.AsSpan(row * width, width).Fill(float.NaN);
        return result;
    }

    private static float[] Select(float[] values, int width, Func<int, bool> isWanted) => [.. values.Where((_, i) => isWanted(i / width))];

    private static Tensor? Create(Device device, in Operand operand, Array? data)
    {
        if (operand.Role == OperandRole.Absent)
            return null;
        TensorLayout shape = operand.Shape;
        long[] lengths = [.. Enumerable.Range(0, shape.Rank).Select(i => shape[i])];
        return data switch
        {
            float[] values => Tensor.From<float>(device, values, lengths),
            Half[] values => Tensor.From<Half>(device, values, lengths),
            sbyte[] values => Tensor.From<sbyte>(device, values, lengths),
            int[] values => Tensor.From<int>(device, values, lengths),
            bool[] values => Tensor.From<bool>(device, values, lengths),
            _ => Tensor.Allocate(device, operand.Type, lengths),
        };
    }

    private sealed record Result(float[] Output, float[] Lse);
}
