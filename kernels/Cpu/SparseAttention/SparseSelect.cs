using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The keys with the most codes in common (<see cref="SparseSelectProblem"/>) without comparing pairs. For each key head, bitmaps say
/// which keys have code k at sub-vector m. A row adds the bitmaps of its own codes bit by bit, 512 keys at a time, so that bit planes hold
/// the match counts of all keys; a radix select over the planes, most significant first, splits the keys into those above the threshold
/// and those at it, of which the last ones are taken. Rows are claimed in blocks by a fixed rule.
/// Workspace: subVectors · 2 bytes a key of every key head; for each thread some bits a key. Cost of a row: about
/// (2 · subVectors + planes) / 512 instructions a key, and one or two a kept key.
/// </summary>
public sealed unsafe class SparseSelect() : CpuKernel<SparseSelectProblem>("sparse-select/cpu")
{
    private const int WordBits = 64, LaneWords = 8; // ulongs of a vector
    private const int Inputs = 8; // bitmaps that are added at once
    private const int RowsOfBlock = 16;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseSelectProblem problem, int threads) =>
        sizeof(ulong) * checked(BitmapWords(problem) + threads * ThreadWords(problem));

    /// <inheritdoc/>
    public override void Run(in SparseSelectProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        if (problem.BatchSize == 0 || problem.IndexHeads == 0 || problem.QueryLength == 0)
            return;
        var build = new Build { Problem = problem, KeyCodes = operands[SparseSelectProblem.KeyCodes], Bitmaps = (ulong*)workspace };
        workers.Run(ref build);
        var select = new Select
        {
            Problem = problem,
            QueryCodes = operands[SparseSelectProblem.QueryCodes],
            KvLengths = operands[SparseSelectProblem.KvLengths],
            Columns = operands[SparseSelectProblem.Columns],
            Counts = operands[SparseSelectProblem.Counts],
            Bitmaps = (ulong*)workspace,
            Threads = (ulong*)workspace + BitmapWords(problem),
        };
        workers.Run(ref select);
    }

    // Words of a bit for each key, whole vectors.
    private static long Words(in SparseSelectProblem problem) => (problem.KvLength + 511L) / 512 * LaneWords;

    private static int Planes(in SparseSelectProblem problem) => BitOperations.Log2((uint)problem.MostMatches) + 1;

    private static long HeadWords(in SparseSelectProblem problem) => (long)problem.SubVectors * SparseCodes.Codewords * Words(problem);

    private static long BitmapWords(in SparseSelectProblem problem) => (long)problem.BatchSize * problem.NumKvHeads * HeadWords(problem);

    // Planes and the two that carry beyond them, zeros, those kept, those open, and the columns of a row with room for a vector.
    private static long ThreadWords(in SparseSelectProblem problem) =>
        (Math.Max(Planes(problem), 4) + 3) * Words(problem) + ((problem.KvLength + 16L) / 2 + LaneWords) / LaneWords * LaneWords;

    // A task is one key head: its bitmaps are cleared and set.
    private struct Build : IParallelBody
    {
        public SparseSelectProblem Problem;
        public RawView KeyCodes;
        public ulong* Bitmaps;

        public readonly void Execute(int worker, int workers)
        {
            long words = Words(Problem), tasks = (long)Problem.BatchSize * Problem.NumKvHeads * Problem.SubVectors;
            for (long task = worker; task < tasks; task += workers)
            {
                (long head, long m) = Math.DivRem(task, Problem.SubVectors);
                ulong* bitmap = Bitmaps + task * SparseCodes.Codewords * words;
                NativeClear(bitmap, SparseCodes.Codewords * words);
                for (int key = 0; key < Problem.KvLength; key++)
                {
                    int code = SparseCodes.Read((int*)KeyCodes.Address(head / Problem.NumKvHeads, head % Problem.NumKvHeads, key), (int)m);
                    bitmap[code * words + key / WordBits] |= 1ul << key % WordBits;
                }
            }
        }
    }

    private struct Select : IParallelBody
    {
        public SparseSelectProblem Problem;
        public RawView QueryCodes, KvLengths, Columns, Counts;
        public ulong* Bitmaps, Threads;

        public readonly void Execute(int worker, int workers)
        {
            long blocks = (Problem.QueryLength + RowsOfBlock - 1L) / RowsOfBlock, tasks = (long)Problem.BatchSize * Problem.IndexHeads * blocks;
            ulong* thread = Threads + worker * ThreadWords(Problem);
            NativeClear(thread, Words(Problem)); // the zeros
            for (long task = worker; task < tasks; task += workers)
            {
                (long list, long block) = Math.DivRem(task, blocks);
                int batch = (int)(list / Problem.IndexHeads), head = (int)(list % Problem.IndexHeads), first = (int)block * RowsOfBlock;
                int length = Problem.HasKvLengths ? KvLengths.ReadInt32(batch) : Problem.KvLength;
                for (int row = first; row < Math.Min(first + RowsOfBlock, Problem.QueryLength); row++)
                    ChooseRow(batch, head, row, Problem.CountSeen(row, length), thread);
            }
        }

        private readonly void ChooseRow(int batch, int head, int row, int seen, ulong* thread)
        {
            int* columns = (int*)Columns.Address(batch, head, row);
            int count = Math.Min(Problem.Capacity, seen);
            *(int*)Counts.Address(batch, head, row) = count;
            if (count == seen)
            {
                for (int j = 0; j < count; j++)
                    columns[j] = j;
            }
            else if (count > 0)
            {
                long words = Words(Problem);
                int used = (seen + 511) / 512 * LaneWords;
                ulong* zeros = thread, kept = zeros + words, open = kept + words, planes = open + words;
                CountMatches(batch, head, row, used, zeros, planes);
                int need = count - Force(seen, used, kept, open);
                for (int plane = Planes(Problem) - 1; plane >= 0 && need > 0; plane--)
                    need = Split(planes + plane * words, used, need, kept, open);
                if (need > 0)
                    TakeEquals(used, need, kept, open);
                int* buffer = (int*)(planes + Math.Max(Planes(Problem), 4) * words);
                WriteColumns(kept, used, buffer);
                new Span<int>(buffer, count).CopyTo(new Span<int>(columns, count));
            }
            new Span<int>(columns + count, Problem.Capacity - count).Fill(-1);
        }

        // Bit planes of the match counts, eight bitmaps at a time.
        private readonly void CountMatches(int batch, int head, int row, int used, ulong* zeros, ulong* planes)
        {
            long words = Words(Problem);
            ulong** inputs = stackalloc ulong*[Inputs];
            int total = Problem.MostMatches, planeCount = Math.Max(Planes(Problem), 4);
            for (int first = 0; first < total; first += Inputs)
            {
                for (int i = 0; i < Inputs; i++)
                {
                    inputs[i] = zeros;
                    if (first + i < total)
                    {
                        int query = head * Problem.HeadsOfList + (first + i) / Problem.SubVectors, m = (first + i) % Problem.SubVectors;
                        int code = SparseCodes.Read((int*)QueryCodes.Address(batch, query, row), m);
                        long keyHead = (long)batch * Problem.NumKvHeads + query / Problem.GroupSize;
                        inputs[i] = Bitmaps + ((keyHead * Problem.SubVectors + m) * SparseCodes.Codewords + code) * words;
                    }
                }
                Add(inputs, used, planes, words, planeCount, isFirst: first == 0);
            }
        }

        // Carry-save adders: eight bits become a number of four, which is added to what the planes hold.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Add(ulong** inputs, int used, ulong* planes, long words, int planeCount, bool isFirst)
        {
            ulong* i0 = inputs[0], i1 = inputs[1], i2 = inputs[2], i3 = inputs[3], i4 = inputs[4], i5 = inputs[5], i6 = inputs[6], i7 = inputs[7];
            for (int at = 0; at < used; at += LaneWords)
            {
                Vector512<ulong> a = Vector512.Load(i0 + at), b = Vector512.Load(i1 + at), c = Vector512.Load(i2 + at);
                Vector512<ulong> s1 = Parity(a, b, c), c1 = Majority(a, b, c);
                (a, b, c) = (Vector512.Load(i3 + at), Vector512.Load(i4 + at), Vector512.Load(i5 + at));
                Vector512<ulong> s2 = Parity(a, b, c), c2 = Majority(a, b, c);
                (a, b) = (Vector512.Load(i6 + at), Vector512.Load(i7 + at));
                Vector512<ulong> s3 = Parity(a, b, s1), c3 = Majority(a, b, s1);
                Vector512<ulong> p0 = s2 ^ s3, c4 = s2 & s3;
                Vector512<ulong> t1 = Parity(c1, c2, c3), d1 = Majority(c1, c2, c3);
                Vector512<ulong> p1 = t1 ^ c4, d2 = t1 & c4, p2 = d1 ^ d2, p3 = d1 & d2;
                ulong* plane = planes + at;
                if (isFirst)
                {
                    p0.Store(plane);
                    p1.Store(plane + words);
                    p2.Store(plane + 2 * words);
                    p3.Store(plane + 3 * words);
                    for (int p = 4; p < planeCount; p++)
                        Vector512<ulong>.Zero.Store(plane + p * words);
                    continue;
                }
                Vector512<ulong> carry = Vector512<ulong>.Zero;
                for (int p = 0; p < planeCount; p++)
                {
                    Vector512<ulong> added = p == 0 ? p0 : p == 1 ? p1 : p == 2 ? p2 : p == 3 ? p3 : Vector512<ulong>.Zero;
                    Vector512<ulong> held = Vector512.Load(plane + p * words);
                    Parity(held, added, carry).Store(plane + p * words);
                    carry = Majority(held, added, carry);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<ulong> Parity(Vector512<ulong> a, Vector512<ulong> b, Vector512<ulong> c) =>
            Avx512F.IsSupported ? Avx512F.TernaryLogic(a, b, c, 0x96) : a ^ b ^ c;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<ulong> Majority(Vector512<ulong> a, Vector512<ulong> b, Vector512<ulong> c) =>
            Avx512F.IsSupported ? Avx512F.TernaryLogic(a, b, c, 0xE8) : (a & b) | (c & (a | b));

        // The keys that are kept whatever they match, and those that are still open: the others that the row sees. Returns how many are kept.
        private readonly int Force(int seen, int used, ulong* kept, ulong* open)
        {
            int count = 0;
            for (int word = 0; word < used; word++)
            {
                int first = word * WordBits;
                ulong visible = Below(seen - first);
                ulong forced = visible & (Below(Problem.Sinks - first) | ~Below((int)Math.Max(0, (long)seen - Problem.Recent) - first));
                (kept[word], open[word]) = (forced, visible & ~forced);
                count += BitOperations.PopCount(forced);
            }
            return count;
        }

        private static ulong Below(int bit) => bit <= 0 ? 0 : bit >= WordBits ? ulong.MaxValue : (1ul << bit) - 1;

        // Open keys with the plane's bit are ahead of those without. When they are no more than needed they are kept, else the others are out.
        private static int Split(ulong* plane, int used, int need, ulong* kept, ulong* open)
        {
            int count = 0;
            for (int word = 0; word < used; word++)
                count += BitOperations.PopCount(open[word] & plane[word]);
            bool areKept = count <= need;
            for (int word = 0; word < used; word++)
            {
                ulong ahead = open[word] & plane[word];
                kept[word] |= areKept ? ahead : 0;
                open[word] = areKept ? open[word] & ~ahead : ahead;
            }
            return areKept ? need - count : need;
        }

        // All open keys match alike now.
        private readonly void TakeEquals(int used, int need, ulong* kept, ulong* open)
        {
            for (int i = 0; i < used && need > 0; i++)
            {
                int word = Problem.KeepsEarliest ? i : used - 1 - i;
                ulong taken = open[word];
                for (int excess = BitOperations.PopCount(taken) - need; excess > 0; excess--)
                    taken = Problem.KeepsEarliest ? taken & ~(1ul << BitOperations.Log2(taken)) : taken & (taken - 1);
                kept[word] |= taken;
                need -= BitOperations.PopCount(taken);
            }
        }

        // The buffer has room for a vector past the last column.
        private static void WriteColumns(ulong* kept, int used, int* buffer)
        {
            Vector512<int> lanes = Vector512<int>.Indices;
            for (int word = 0; word < used; word++)
            {
                ulong bits = kept[word];
                int key = word * WordBits;
                if (Avx512F.IsSupported)
                {
                    for (; bits != 0; bits >>= 16, key += 16)
                    {
                        Vector512<int> mask = ExpandMask((ushort)bits);
                        Avx512F.Compress(Vector512<int>.Zero, mask, lanes + Vector512.Create(key)).Store(buffer);
                        buffer += BitOperations.PopCount((uint)(ushort)bits);
                    }
                    continue;
                }
                for (; bits != 0; bits &= bits - 1)
                    *buffer++ = key + BitOperations.TrailingZeroCount(bits);
            }
        }

        // A lane of ones for each bit.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<int> ExpandMask(ushort bits)
        {
            Vector512<int> places = Vector512.Create(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768);
            return Vector512.Equals(Vector512.Create((int)bits) & places, places);
        }
    }

    private static void NativeClear(ulong* words, long count) =>
        System.Runtime.InteropServices.NativeMemory.Clear(words, (nuint)(count * sizeof(ulong)));
}
