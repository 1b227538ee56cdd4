using System.Runtime.InteropServices;
using KernelEngine.Kernels.Gpu.Attention;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Decoding on tensor cores, instruction by instruction, against plain loops. Keys that no row sees are NaN.</summary>
[TestFixture]
public sealed class FlashDecodeMmaTests
{
    [TestCase("b=1 h=1 q=1 k=1 d=64", 1)]
    [TestCase("b=2 h=8 kv=2 q=1 k=257 d=64", 1)]
    [TestCase("h=8 kv=1 q=1 k=300 d=128", 1)]
    [TestCase("h=4 kv=2 q=3 k=200 d=128 causal", 2)]
    [TestCase("h=6 kv=1 q=4 k=70 d=64 causal", 3)]
    [TestCase("h=2 q=1 k=513 d=128", 19)]
    [TestCase("h=2 q=2 k=100 d=96 causal left=30", 2)]
    [TestCase("h=3 q=5 k=90 d=256 left=20 right=3", 1)]
    [TestCase("h=3 q=5 k=90 d=64 causal topleft", 1)]
    [TestCase("h=2 q=5 k=3 d=64 causal", 1)]
    [TestCase("h=2 kv=1 q=1 k=0 d=128", 1)]
    [TestCase("b=2 h=4 kv=2 q=2 k=300 d=128 causal lengths", 2)]
    [TestCase("b=2 h=4 kv=2 q=1 k=300 d=64 page=16 pool=50 lengths", 2)]
    [TestCase("b=2 h=4 kv=2 q=1 k=200 d=128 page=7 pool=70 headpages lengths", 1)]
    public void MatchesPlainLoops(string text, int numSplits)
    {
        AttentionProblem problem = ProblemText.Parse<AttentionProblem>(text);
        if (problem.HeadDim == 64)
            Check<DecodeMmaTile64, TensorCoreBFloat16>(problem, numSplits);
        else if (problem.HeadDim == 96)
            Check<DecodeMmaTile96, TensorCoreBFloat16>(problem, numSplits);
        else if (problem.HeadDim == 128)
            Check<DecodeMmaTile128, TensorCoreBFloat16>(problem, numSplits);
        else
            Check<DecodeMmaTile256, TensorCoreBFloat16>(problem, numSplits);
    }

    private static void Check<TTile, TElement>(AttentionProblem problem, int numSplits)
        where TTile : struct, IDecodeMmaTile where TElement : struct, ITensorCoreElement
    {
        var random = new Random(7);
        int batchSize = problem.BatchSize, heads = problem.NumHeads, kvHeads = problem.NumKvHeads, queries = problem.QueryLength, dim = problem.HeadDim;
        bool isPaged = problem.PageSize > 0;
        int slotHeads = problem.IsHeadPaged ? 1 : kvHeads, slots = isPaged ? problem.PageSize : problem.KvLength;
        int pagesOfHead = isPaged ? (problem.KvLength + problem.PageSize - 1) / problem.PageSize : 0;
        int[] lengths = [.. Enumerable.Range(0, batchSize * kvHeads).Select(_ =>
            problem.Has(AttentionOperands.KvLengths) ? random.Next(problem.KvLength + 1) : problem.KvLength)];
        // Pages past a head's last are none.
        int[] pool = [.. Enumerable.Range(0, problem.PoolPages)];
        random.Shuffle(pool);
        int nextPage = 0;
        var table = new int[batchSize * kvHeads * pagesOfHead];
        Array.Fill(table, int.MaxValue);
        for (int sequence = 0; sequence < batchSize && isPaged; sequence++)
        {
            for (int i = 0; i < pagesOfHead; i++, nextPage += problem.IsHeadPaged ? 0 : 1)
            {
                for (int head = 0; head < kvHeads; head++)
                {
                    if (i * problem.PageSize < lengths[sequence * kvHeads + head])
                        table[(sequence * kvHeads + head) * pagesOfHead + i] = pool[problem.IsHeadPaged ? nextPage++ : nextPage];
                }
            }
        }
        long Row(int sequence, int key, int head) => isPaged
            ? ((long)table[(sequence * kvHeads + head) * pagesOfHead + key / problem.PageSize] * slots + key % problem.PageSize) * slotHeads + head % slotHeads
            : ((long)sequence * slots + key) * slotHeads + head;

        int rows = (isPaged ? problem.PoolPages : batchSize) * slots * slotHeads;
        var keys = new ushort[rows * dim];
        var values = new ushort[rows * dim];
        Array.Fill(keys, ushort.MaxValue);
        Array.Fill(values, ushort.MaxValue);
        for (int sequence = 0; sequence < batchSize; sequence++)
        {
            for (int head = 0; head < kvHeads; head++)
            {
                for (int key = 0; key < lengths[sequence * kvHeads + head]; key++)
                {
                    Draw(random, keys.AsSpan((int)Row(sequence, key, head) * dim, dim));
                    Draw(random, values.AsSpan((int)Row(sequence, key, head) * dim, dim));
                }
            }
        }
        var query = new ushort[batchSize * queries * heads * dim];
        Draw(random, query);

        var gpu = new EmulatedGpu(seed: 3);
        int outputRows = batchSize * heads * queries;
        ulong output = gpu.Allocate(query.Length * 2), lse = gpu.Allocate(outputRows * 4);
        ulong partialOutput = gpu.Allocate((long)numSplits * outputRows * dim * 4), partialLse = gpu.Allocate(numSplits * outputRows * 4);
        int rowBlocks = (problem.GroupSize * queries + FlashDecodeMma.Rows - 1) / FlashDecodeMma.Rows;
        var parameters = new FlashDecodeMma.Parameters
        {
            Query = Tokens(gpu.Allocate<ushort>(query), queries, heads),
            Key = Tokens(gpu.Allocate<ushort>(keys), slots, slotHeads),
            Value = Tokens(gpu.Allocate<ushort>(values), slots, slotHeads),
            Output = Tokens(output, queries, heads),
            Lse = (long)lse,
            KvLengths = problem.Has(AttentionOperands.KvLengths) ? (long)gpu.Allocate<int>(lengths) : 0,
            PageTable = isPaged ? (long)gpu.Allocate<int>(table) : 0,
            PartialOutput = (long)partialOutput,
            PartialLse = (long)partialLse,
            LseBatchStride = heads * queries,
            LseHeadStride = queries,
            LengthStride = kvHeads,
            PageBatchStride = kvHeads * pagesOfHead,
            PageHeadStride = pagesOfHead,
            BatchSize = batchSize,
            NumHeads = heads,
            NumKvHeads = kvHeads,
            GroupSize = problem.GroupSize,
            QueryLength = queries,
            KvLength = problem.KvLength,
            PageSize = problem.PageSize,
            IsHeadPaged = problem.IsHeadPaged ? 1 : 0,
            RowBlocks = rowBlocks,
            NumSplits = numSplits,
            IsTopLeft = problem.Alignment == CausalAlignment.TopLeft ? 1 : 0,
            WindowLeft = problem.WindowLeft < 0 ? int.MaxValue : problem.WindowLeft,
            WindowRight = problem.IsCausal ? 0 : problem.WindowRight < 0 ? int.MaxValue : problem.WindowRight,
            SoftmaxScaleLog2 = problem.Scale * 1.44269504f,
        };

        TokenAddress Tokens(ulong address, long tokens, long headsOfToken) => new()
        {
            Address = (long)address,
            BatchStride = tokens * headsOfToken * dim,
            TokenStride = headsOfToken * dim,
            HeadStride = dim,
        };
        PtxKernel kernel = PtxCompiler.Compile(new CudaEntry<FlashDecodeMma.Parameters>(
            FlashDecodeMma.FlashAttentionDecodeMma<TTile, TElement>, PtxTarget.Sm80, 32 * TTile.Warps, FlashDecodeMma.SharedBytes<TTile>(),
            FlashDecodeMma.GroupsPerMultiprocessor));
        // The emulator has no variables of a module: here the counters are memory.
        var counters = new int[FlashDecodeMma.MaxSplitTiles];
        ulong counterMemory = gpu.Allocate<int>(counters);
        string ptx = kernel.Text.Replace($".global .align 4 .b32 counters[{counters.Length}];", "", StringComparison.Ordinal)
            .Replace("mov.u64 at, counters;", $"mov.u64 at, {counterMemory};", StringComparison.Ordinal);
        LaunchStatistics statistics = gpu.Launch(
            PtxProgram.Parse(ptx), rowBlocks * kvHeads * numSplits * batchSize, 1, 1, kernel.Threads, kernel.DynamicSharedBytes,
            MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref parameters, 1)));
        gpu.Read(counterMemory, counters.AsSpan());
        Assert.That(statistics.BankConflicts, Is.Zero);
        Assert.That(counters, Is.All.Zero, "the counters, for the next launch");

        (float[] result, float[] resultLse) = ReadOutput(gpu, output, lse, problem);
        for (int sequence = 0; sequence < batchSize; sequence++)
        {
            for (int head = 0; head < heads; head++)
            {
                int kvHead = head / problem.GroupSize, length = lengths[sequence * kvHeads + kvHead];
                for (int q = 0; q < queries; q++)
                {
                    KeyRange range = problem.GetRange(q, queries, length, problem.WindowLeft, 0);
                    ReadOnlySpan<ushort> row = query.AsSpan(((sequence * queries + q) * heads + head) * dim, dim);
                    var expected = new double[dim];
                    double total = 0;
                    for (int key = range.First; key < range.End; key++)
                    {
                        int at = (int)Row(sequence, key, kvHead) * dim;
                        double score = 0;
                        for (int i = 0; i < dim; i++)
                            score += (double)Lane.FromBFloat16(row[i]) * Lane.FromBFloat16(keys[at + i]);
                        double weight = Math.Exp(score * problem.Scale);
                        total += weight;
                        for (int i = 0; i < dim; i++)
                            expected[i] += weight * Lane.FromBFloat16(values[at + i]);
                    }
                    int outputRow = (sequence * heads + head) * queries + q;
                    string place = $"sequence {sequence} head {head} query {q}";
                    Assert.That(resultLse[outputRow], Is.EqualTo(Math.Log(total)).Within(1e-4), place);
                    for (int i = 0; i < dim; i++)
                        Assert.That(result[outputRow * dim + i], Is.EqualTo(total == 0 ? 0 : expected[i] / total).Within(0.008), $"{place} column {i}");
                }
            }
        }
    }

    // By [sequence, head, query].
    private static (float[] Output, float[] Lse) ReadOutput(EmulatedGpu gpu, ulong output, ulong lse, AttentionProblem problem)
    {
        int dim = problem.HeadDim, rows = problem.BatchSize * problem.NumHeads * problem.QueryLength;
        var bits = new ushort[rows * dim];
        var logs = new float[rows];
        gpu.Read(output, bits.AsSpan());
        gpu.Read(lse, logs.AsSpan());
        var result = new float[rows * dim];
        for (int row = 0; row < rows; row++)
        {
            int query = row % problem.QueryLength, head = row / problem.QueryLength % problem.NumHeads, sequence = row / problem.QueryLength / problem.NumHeads;
            for (int i = 0; i < dim; i++)
                result[row * dim + i] = Lane.FromBFloat16(bits[((sequence * problem.QueryLength + query) * problem.NumHeads + head) * dim + i]);
        }
        return (result, logs);
    }

    private static void Draw(Random random, Span<ushort> values)
    {
        foreach (ref ushort value in values)
            value = (ushort)Lane.ToBFloat16((float)(4 * random.NextDouble() - 2));
    }
}
