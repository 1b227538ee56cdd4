using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Attention;

/// <summary>
/// Selective attention (<see cref="AttentionDecodeSelectiveProblem"/>). Threads own cells: a cell's keys are streamed once, page by
/// page, for all heads of its group; a radix select finds each head's largest scores, and the values of their union are summed.
/// Exponents are in base 2. Workspace of a thread: 4 · (groupSize · (slots + headDim + valueHeadDim + 2) + 2 · slots) + slots bytes.
/// </summary>
public sealed unsafe class AttentionDecodeSelective<TSimd, TVector>()
    : CpuKernel<AttentionDecodeSelectiveProblem>($"attention-decode-selective/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in AttentionDecodeSelectiveProblem problem, int threads) =>
        checked(threads * BytesPerThread(problem));

    /// <inheritdoc/>
    public override void Run(
        in AttentionDecodeSelectiveProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Query = operands[AttentionDecodeSelectiveProblem.Query],
            Key = operands[AttentionDecodeSelectiveProblem.Key],
            Value = operands[AttentionDecodeSelectiveProblem.Value],
            KeyScale = operands[AttentionDecodeSelectiveProblem.KeyScale],
            ValueScale = operands[AttentionDecodeSelectiveProblem.ValueScale],
            PageTable = operands[AttentionDecodeSelectiveProblem.PageTable],
            Lengths = operands[AttentionDecodeSelectiveProblem.Lengths],
            Output = operands[AttentionDecodeSelectiveProblem.Output],
            Lse = operands[AttentionDecodeSelectiveProblem.Lse],
            Workspace = (byte*)workspace,
        };
        workers.Run(ref body);
    }

    // Whole cache lines, so that threads do not share one.
    private static long BytesPerThread(in AttentionDecodeSelectiveProblem problem) =>
        (sizeof(float) * (problem.GroupSize * ((long)problem.Slots + problem.HeadDim + problem.ValueHeadDim + 2) + 2L * problem.Slots)
            + problem.Slots + 63) / 64 * 64;

    private struct Body : IParallelBody
    {
        public AttentionDecodeSelectiveProblem Problem;
        public RawView Query, Key, Value, KeyScale, ValueScale, PageTable, Lengths, Output, Lse;
        public byte* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            byte* workspace = Workspace + worker * BytesPerThread(Problem);
            (long first, long last) = Partition.Range(Problem.Cells, worker, workers);
            for (int cell = (int)first; cell < last; cell++)
            {
                switch (Problem.Type)
                {
                    case DataType.Float32:
                        RunCell<Float32Source<TSimd, TVector>>(cell, workspace);
                        break;
                    case DataType.Float16:
                        RunCell<Float16Source<TSimd, TVector>>(cell, workspace);
                        break;
                    case DataType.Int8:
                        RunCell<Int8Source<TSimd, TVector>>(cell, workspace);
                        break;
                    default:
                        RunCell<BFloat16Source<TSimd, TVector>>(cell, workspace);
                        break;
                }
            }
        }

        private readonly void RunCell<TSource>(int cell, byte* workspace) where TSource : struct, ISource<TVector>
        {
            int heads = Problem.GroupSize, slots = Problem.Slots, length = Lengths.ReadInt32(cell);
            float* scores = (float*)workspace, queries = scores + (long)heads * slots, sums = queries + heads * Problem.HeadDim;
            float* totals = sums + heads * Problem.ValueHeadDim, keptTotals = totals + heads;
            uint* keys = (uint*)(keptTotals + heads);
            byte* isKept = (byte*)(keys + 2L * slots);
            LoadQueries(cell, queries);
            for (int page = 0; page * (long)Problem.PageSize < length; page++)
                ScorePage<TSource>(cell, page, Math.Min(Problem.PageSize, length - page * Problem.PageSize), queries, scores);
            new Span<byte>(isKept, length).Clear();
            for (int g = 0; g < heads; g++)
            {
                float* row = scores + (long)g * slots;
                MarkLargest(row, length, keys, isKept);
                float max = length > 0 ? Softmax<TSimd, TVector>.Max(row, length) : float.NegativeInfinity;
                totals[g] = length > 0 ? Softmax<TSimd, TVector>.Exp2InPlace(row, length, max) : 0f;
                if (Lse.IsPresent)
                    *(float*)Lse.Address(cell * heads + g) = (max + MathF.Log2(totals[g])) * Ln2;
            }
            new Span<float>(sums, heads * Problem.ValueHeadDim).Clear();
            new Span<float>(keptTotals, heads).Clear();
            for (int j = 0; j < length; j++)
            {
                if (isKept[j] != 0)
                    AddValue<TSource>(cell, j, scores, sums, keptTotals);
            }
            for (int g = 0; g < heads; g++)
                Write(cell * heads + g, sums + g * Problem.ValueHeadDim, Problem.IsRenormalised ? keptTotals[g] : totals[g]);
        }

        private readonly void LoadQueries(int cell, float* queries)
        {
            for (int g = 0; g < Problem.GroupSize; g++)
            {
                float* query = (float*)Query.Address(cell * Problem.GroupSize + g);
                for (int i = 0; i < Problem.HeadDim; i++)
                    queries[g * Problem.HeadDim + i] = query[i] * (Problem.Scale * Log2E);
            }
        }

        // Scores of the first `count` slots of a page, head after head while its keys are in the first-level cache.
        private readonly void ScorePage<TSource>(int cell, int page, int count, float* queries, float* scores)
            where TSource : struct, ISource<TVector>
        {
            int stored = PageTable.ReadInt32(cell, page), size = Problem.HeadDim;
            byte* keys = Key.Address(stored);
            long rowBytes = Key.Layout.Stride(1) * TSource.Size;
            for (int g = 0; g < Problem.GroupSize; g++)
            {
                float* target = scores + (long)g * Problem.Slots + page * Problem.PageSize;
                Multiply<TSource>(keys, rowBytes, count, queries + g * size, size, target);
                for (int r = 0; KeyScale.IsPresent && r < count; r++)
                    target[r] *= *(float*)KeyScale.Address(stored, 0, r);
            }
        }

        // The products of rows with a query, four rows at a time; rows that do not exist repeat the last one.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Multiply<TSource>(byte* rows, long rowBytes, int count, float* query, int size, float* products)
            where TSource : struct, ISource<TVector>
        {
            for (int r = 0; r < count; r += 4, rows += 4 * rowBytes)
            {
                int last = Math.Min(4, count - r) - 1;
                byte* k0 = rows, k1 = rows + Math.Min(1, last) * rowBytes;
                byte* k2 = rows + Math.Min(2, last) * rowBytes, k3 = rows + last * rowBytes;
                TVector s0 = TSimd.Zero, s1 = TSimd.Zero, s2 = TSimd.Zero, s3 = TSimd.Zero;
                int i = 0;
                for (; i <= size - TSimd.Width; i += TSimd.Width)
                {
                    TVector q = TSimd.Load(query + i);
                    s0 = TSimd.MultiplyAdd(TSource.Load(k0, i), q, s0);
                    s1 = TSimd.MultiplyAdd(TSource.Load(k1, i), q, s1);
                    s2 = TSimd.MultiplyAdd(TSource.Load(k2, i), q, s2);
                    s3 = TSimd.MultiplyAdd(TSource.Load(k3, i), q, s3);
                }
                Vector128<float> sums = TSimd.SumFour(s0, s1, s2, s3);
                for (; i < size; i++)
                {
                    sums += query[i] * Vector128.Create(
                        TSource.LoadOne(k0, i), TSource.LoadOne(k1, i), TSource.LoadOne(k2, i), TSource.LoadOne(k3, i));
                }
                if (last == 3)
                    sums.Store(products + r);
                else
                    for (int j = 0; j <= last; j++)
                        products[r + j] = sums[j];
            }
        }

        // Marks the slots of a head's keepCount largest scores, of equals the later ones.
        private readonly void MarkLargest(float* scores, int length, uint* keys, byte* isKept)
        {
            if (length <= Problem.KeepCount)
            {
                new Span<byte>(isKept, length).Fill(1);
                return;
            }
            for (int j = 0; j < length; j++)
                keys[j] = RadixSelect.KeyOf(scores[j]);
            uint least = RadixSelect.Find(keys, length, Problem.KeepCount, keys + Problem.Slots, out long equals, out long wanted);
            long passedOver = equals - wanted;
            for (int j = 0; j < length; j++)
            {
                if (keys[j] > least || (keys[j] == least && passedOver-- <= 0))
                    isKept[j] = 1;
            }
        }

        private readonly void AddValue<TSource>(int cell, int slot, float* weights, float* sums, float* keptTotals)
            where TSource : struct, ISource<TVector>
        {
            int page = PageTable.ReadInt32(cell, slot / Problem.PageSize), row = slot % Problem.PageSize;
            byte* value = Value.Address(page, row);
            float scale = ValueScale.IsPresent ? *(float*)ValueScale.Address(page, 0, row) : 1f;
            for (int g = 0; g < Problem.GroupSize; g++)
            {
                float weight = weights[(long)g * Problem.Slots + slot];
                keptTotals[g] += weight;
                AddScaled<TSource>(value, weight * scale, Problem.ValueHeadDim, sums + g * Problem.ValueHeadDim);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void AddScaled<TSource>(byte* row, float factor, int size, float* sums) where TSource : struct, ISource<TVector>
        {
            TVector f = TSimd.Broadcast(factor);
            int i = 0;
            for (; i <= size - TSimd.Width; i += TSimd.Width)
                TSimd.Store(TSimd.MultiplyAdd(TSource.Load(row, i), f, TSimd.Load(sums + i)), sums + i);
            for (; i < size; i++)
                sums[i] += factor * TSource.LoadOne(row, i);
        }

        private readonly void Write(int head, float* sums, float total)
        {
            float* output = (float*)Output.Address(head);
            for (int i = 0; i < Problem.ValueHeadDim; i++)
                output[i] = total == 0f ? 0f : sums[i] / total;
        }
    }
}
