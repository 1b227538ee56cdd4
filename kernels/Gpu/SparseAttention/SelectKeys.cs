using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>
/// The keys with the most codes in common with a query row (see the problem for the rule), exactly and without comparing pairs. The
/// first kernel builds bitmaps: bit j of bitmap [m, k] of a key head says that key j has code k at sub-vector m. In the second a group of
/// 128 threads has one row after another. Each thread adds the bitmaps of the row's codes for its words of 32 keys, so that bit planes
/// hold the match counts; a radix select over the planes, most significant first, splits the keys into those kept and those equal, of
/// which the last ones fill up; prefix sums say where each thread writes. Every number is an integer. Shared memory: 4 · (128 + 16) bytes.
/// </summary>
internal static class SelectKeys
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupScan.Threads;

    /// <summary>Shared memory of a group that selects.</summary>
    public const int SelectSharedBytes = sizeof(int) * GroupScan.ScratchSize;

    private const int Codewords = 16, CodesPerWord = 8, CodeBits = 4, WordBits = 32;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public TokenTensor<int> QueryCodes;  // [batchSize, numHeads, queryLength, words]
        public TokenTensor<int> KeyCodes;    // [batchSize, numKvHeads, kvLength, words]
        public ColumnListView Lists;         // of all query rows, written
        public ArrayView<int> KvLengths;     // [batchSize]
        public ArrayView<uint> Bitmaps;      // [batchSize, numKvHeads, subVectors, 16, keyWords]
        public ArrayView<uint> Scratch;      // [groups, 2 + planes, keyWords]: the keys kept, those that may still be, the planes
        public long BitmapWords, Rows;       // Rows = batchSize · indexHeads · queryLength
        public int IndexHeads, NumKvHeads, HeadsOfList, GroupSize, QueryLength, KvLength, KeyWords, SubVectors, Planes, Capacity;
        public int IsCausal, KeepsEarliest, Sinks, Recent, HasKvLengths;
    }

    /// <summary>The first kernel; one thread for each word of the bitmaps.</summary>
    public static void BuildBitmaps(Parameters p)
    {
        long index = (long)Grid.IdxX * Threads + Group.IdxX;
        if (index >= p.BitmapWords)
            return;
        int word = (int)(index % p.KeyWords);
        long rest = index / p.KeyWords;
        uint code = (uint)(rest % Codewords);
        rest /= Codewords;
        int m = (int)(rest % p.SubVectors);
        rest /= p.SubVectors;
        int head = (int)(rest % p.NumKvHeads), batch = (int)(rest / p.NumKvHeads);
        int first = word * WordBits, keys = p.KvLength - first < WordBits ? p.KvLength - first : WordBits;
        uint bits = 0u;
        for (int j = 0; j < keys; j++)
        {
            uint codes = (uint)p.KeyCodes.Data[p.KeyCodes.Offset(batch, head, first + j) + m / CodesPerWord];
            bits |= ((codes >> (m % CodesPerWord * CodeBits)) & (Codewords - 1)) == code ? 1u << j : 0u;
        }
        p.Bitmaps[index] = bits;
    }

    /// <summary>The second kernel; a group has every <c>Grid.DimX</c>th row.</summary>
    public static void SelectRows(Parameters p)
    {
        ArrayView<int> scratch = SharedMemory.Allocate<int>(GroupScan.ScratchSize);
        for (long index = Grid.IdxX; index < p.Rows; index += Grid.DimX)
        {
            int row = (int)(index % p.QueryLength);
            long rest = index / p.QueryLength;
            int head = (int)(rest % p.IndexHeads), batch = (int)(rest / p.IndexHeads);
            int seen = CountSeen(ref p, batch, row), count = seen < p.Capacity ? seen : p.Capacity;
            // A row that keeps all it sees, or nothing, has nothing to choose: no bits are open. Otherwise the keys that are kept in any
            // case do not overlap. All rows take the same way through the barriers.
            int need = count < seen ? count - p.Sinks - p.Recent : 0, open = count < seen ? seen - p.Sinks - p.Recent : 0;
            // Threads read and write words of their own alone, which needs no barrier.
            ArrayView<uint> words = p.Scratch.SubView((long)Grid.IdxX * (2 + p.Planes) * p.KeyWords, (2L + p.Planes) * p.KeyWords);
            CountMatches(ref p, words, batch, head, row, seen, count);
            for (int plane = p.Planes - 1; plane >= 0 && need > 0; plane--)
            {
                int ahead = CountAhead(ref p, words, scratch, seen, plane);
                bool areKept = ahead <= need;
                Split(ref p, words, seen, plane, areKept);
                need -= areKept ? ahead : 0;
                open = areKept ? open - ahead : ahead;
            }
            long columns = p.Lists.Offset(batch, head, row);
            Write(ref p, words, scratch, columns, seen, need, open);
            for (int j = count + Group.IdxX; j < p.Capacity; j += Threads)
                p.Lists.SetColumn(columns + j, -1);
            if (Group.IdxX == 0)
                p.Lists.Counts[p.Lists.CountOffset(batch, head, row)] = count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CountSeen(ref Parameters p, int batch, int row)
    {
        int length = p.KvLength;
        if (p.HasKvLengths != 0)
            length = p.KvLengths[batch];
        long seen = p.IsCausal != 0 ? row + 1L + length - p.QueryLength : length;
        return seen < 0 ? 0 : seen > length ? length : (int)seen;
    }

    // The planes of this thread's words, the keys that are kept in any case, and the others.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CountMatches(ref Parameters p, ArrayView<uint> words, int batch, int head, int row, int seen, int count)
    {
        for (int word = Group.IdxX; word * WordBits < seen; word += Threads)
        {
            var counter = new Counter();
            for (int i = 0; i < p.HeadsOfList && count < seen; i++)
            {
                int query = head * p.HeadsOfList + i;
                long codes = p.QueryCodes.Offset(batch, query, row);
                long bitmaps = ((long)batch * p.NumKvHeads + query / p.GroupSize) * p.SubVectors * Codewords * p.KeyWords + word;
                for (int m = 0; m < p.SubVectors; m++)
                {
                    uint code = ((uint)p.QueryCodes.Data[codes + m / CodesPerWord] >> (m % CodesPerWord * CodeBits)) & (Codewords - 1);
                    counter.Add(p.Bitmaps[bitmaps + ((long)m * Codewords + code) * p.KeyWords], p.Planes);
                }
            }
            counter.Store(words, 2L * p.KeyWords + word, p.KeyWords, p.Planes);
            int first = word * WordBits;
            uint visible = Below(seen - first), forced = visible & (Below(p.Sinks - first) | ~Below(seen - p.Recent - first));
            uint kept = count == seen ? visible : forced;
            words[word] = kept;
            words[p.KeyWords + word] = visible & ~kept;
        }
    }

    // How many of the open keys have the plane's bit.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CountAhead(ref Parameters p, ArrayView<uint> words, ArrayView<int> scratch, int seen, int plane)
    {
        int count = 0;
        for (int word = Group.IdxX; word * WordBits < seen; word += Threads)
            count += IntrinsicMath.PopCount(words[p.KeyWords + word] & words[(2L + plane) * p.KeyWords + word]);
        return GroupScan.Sum(scratch, count).Total;
    }

    // Open keys with the plane's bit are ahead of those without: either they are kept, or the others are out.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Split(ref Parameters p, ArrayView<uint> words, int seen, int plane, bool areKept)
    {
        for (int word = Group.IdxX; word * WordBits < seen; word += Threads)
        {
            uint open = words[p.KeyWords + word], ahead = open & words[(2L + plane) * p.KeyWords + word];
            words[word] |= areKept ? ahead : 0u;
            words[p.KeyWords + word] = areKept ? open & ~ahead : ahead;
        }
    }

    // The kept keys and, of the open ones, which all match alike now, the last or first ones, in ascending order. One scan has both
    // counts, of at most 128 · 32 each: the kept ones in the low half, the open ones in the high half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(ref Parameters p, ArrayView<uint> words, ArrayView<int> scratch, long columns, int seen, int need, int open)
    {
        int dropped = p.KeepsEarliest != 0 ? 0 : open - need; // open keys before the first that is taken
        int keptBefore = 0, openBefore = 0;
        for (int begin = 0; begin * WordBits < seen; begin += Threads)
        {
            int word = begin + Group.IdxX;
            uint kept = 0u, equal = 0u;
            if (word * WordBits < seen)
            {
                kept = words[word];
                equal = words[p.KeyWords + word];
            }
            ScanResult sums = GroupScan.Sum(scratch, IntrinsicMath.PopCount(kept) | (IntrinsicMath.PopCount(equal) << 16));
            int rank = openBefore + (sums.Before >> 16) - dropped; // of this word's first open key among those that may be taken
            long at = columns + keptBefore + (sums.Before & 0xFFFF) + (rank < 0 ? 0 : rank < need ? rank : need);
            while (equal != 0u && rank < need)
            {
                kept |= rank >= 0 ? equal & (0u - equal) : 0u;
                equal &= equal - 1u;
                rank++;
            }
            while (kept != 0u)
            {
                p.Lists.SetColumn(at, word * WordBits + IntrinsicMath.TrailingZeroCount(kept));
                kept &= kept - 1u;
                at++;
            }
            keptBefore += sums.Total & 0xFFFF;
            openBefore += sums.Total >> 16;
        }
    }

    // The bits below one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Below(int bit) => bit <= 0 ? 0u : bit >= WordBits ? ~0u : (1u << bit) - 1u;

    // 32 numbers of up to nine bits, side by side: plane i holds bit i of each.
    private struct Counter
    {
        private uint _p0, _p1, _p2, _p3, _p4, _p5, _p6, _p7, _p8;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(uint bits, int planes)
        {
            uint carry = AddTo(ref _p0, bits);
            carry = AddTo(ref _p1, carry);
            carry = AddTo(ref _p2, carry);
            carry = AddTo(ref _p3, carry);
            carry = AddTo(ref _p4, carry);
            if (planes > 5)
            {
                carry = AddTo(ref _p5, carry);
                carry = AddTo(ref _p6, carry);
                carry = AddTo(ref _p7, carry);
                _p8 ^= carry;
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Store(ArrayView<uint> words, long at, int stride, int planes)
        {
            for (int plane = 0; plane < planes; plane++, at += stride)
            {
                words[at] = plane == 0 ? _p0 : plane == 1 ? _p1 : plane == 2 ? _p2 : plane == 3 ? _p3 : plane == 4 ? _p4
                    : plane == 5 ? _p5 : plane == 6 ? _p6 : plane == 7 ? _p7 : _p8;
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static uint AddTo(ref uint plane, uint bits)
        {
            uint carry = plane & bits;
            plane ^= bits;
            return carry;
        }
    }
}
