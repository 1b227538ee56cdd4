using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The keys with the most codes in common (<see cref="SparseSelectProblem"/>) without comparing pairs. For each key head, bitmaps say
/// which keys have code k at sub-vector m. A row adds the bitmaps of its own codes bit by bit, 512 keys at a time, so that bit planes hold
/// the match counts of all keys; a radix select over the planes, most significant first, splits the keys into those above the threshold
/// and those at it, of which the last ones are taken. Cost of a row: about (2 · subVectors + planes) / 512 instructions a key, and one or
/// two a kept key.
/// </summary>
/// <param name="problem">Which keys are chosen.</param>
/// <param name="queryCodes">The queries' codes.</param>
/// <param name="keyCodes">The keys' codes.</param>
/// <param name="kvLengths">The lengths, where sequences have their own.</param>
/// <param name="bitmaps"><see cref="BitmapBytes"/>, aligned to vectors, that all threads share.</param>
internal readonly unsafe struct KeySelection(
    in SparseSelectProblem problem, RawView queryCodes, RawView keyCodes, RawView kvLengths, void* bitmaps)
{
    private const int WordBits = 64, LaneWords = 8; // ulongs of a vector
    private const int Inputs = 8, FirstPlanes = 4; // bitmaps that are added at once, and the bits of their sum
    private const int BlockKeys = LaneWords * WordBits; // keys of a vector of bits

    /// <summary>A list is written word by word: so many keys past its end may be written too.</summary>
    public const int Slack = WordBits;

    private readonly SparseSelectProblem _problem = problem;
    private readonly RawView _queryCodes = queryCodes, _keyCodes = keyCodes, _kvLengths = kvLengths;
    private readonly ulong* _zeros = (ulong*)bitmaps, _bitmaps = (ulong*)bitmaps + Words(problem);

    /// <summary>Bytes of the bitmaps, a multiple of 64: subVectors · 2 for a key of every key head.</summary>
    public static long BitmapBytes(in SparseSelectProblem problem) =>
        checked((Words(problem) + (long)problem.BatchSize * problem.NumKvHeads * HeadWords(problem)) * sizeof(ulong));

    /// <summary>Bytes that choosing a list needs, a multiple of 64: keys that are kept, keys that are open, the planes.</summary>
    public static long ScratchBytes(in SparseSelectProblem problem) => (2L + StoredPlanes(problem)) * Words(problem) * sizeof(ulong);

    // Words with a bit for each of some keys, whole vectors.
    private static long WordsOf(long keys) => (keys + BlockKeys - 1) / BlockKeys * LaneWords;

    private static long Words(in SparseSelectProblem problem) => WordsOf(problem.KvLength);

    private static int Planes(in SparseSelectProblem problem) => BitOperations.Log2((uint)problem.MostMatches) + 1;

    // As many as the first sum of inputs has.
    private static int StoredPlanes(in SparseSelectProblem problem) => Math.Max(Planes(problem), FirstPlanes);

    private static long HeadWords(in SparseSelectProblem problem) => (long)problem.SubVectors * SparseCodes.Codewords * Words(problem);

    /// <summary>
    /// Builds this worker's part of the bitmaps, before any list is chosen. A task is 512 keys of a head and a word of their codes: each bit
    /// of the codes becomes a bitmap, and of the four of a code the sixteen of its values are made. Bits past the last key mean nothing.
    /// </summary>
    public void BuildBitmaps(int worker, int workers)
    {
        int codeWords = SparseCodes.WordsOf(_problem.SubVectors), codeBits = SparseCodes.CodesPerWord * SparseCodes.CodeBits;
        long words = Words(_problem), blocks = words / LaneWords, tasks = (long)_problem.BatchSize * _problem.NumKvHeads * codeWords * blocks;
        ulong* bits = stackalloc ulong[codeBits * LaneWords];
        if (worker == 0)
            Clear(_zeros, words);
        for (long task = worker; task < tasks; task += workers)
        {
            (long head, long block) = Math.DivRem(task, blocks);
            (head, long codeWord) = Math.DivRem(head, codeWords);
            TransposeBits(head, (int)codeWord, (int)block * BlockKeys, bits);
            int firstCode = (int)codeWord * SparseCodes.CodesPerWord, endCode = Math.Min(firstCode + SparseCodes.CodesPerWord, _problem.SubVectors);
            for (int m = firstCode; m < endCode; m++)
            {
                ulong* target = _bitmaps + (head * _problem.SubVectors + m) * SparseCodes.Codewords * words + block * LaneWords;
                WriteValues(bits + (m - firstCode) * SparseCodes.CodeBits * LaneWords, target, words);
            }
        }
    }

    /// <summary>Writes the keys of a row's list, ascending, and returns how many there are.</summary>
    /// <param name="batch">Which sequence.</param>
    /// <param name="head">Which head that has lists.</param>
    /// <param name="row">Which row.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/>, aligned to vectors.</param>
    /// <param name="keys">Memory for min(capacity, kvLength) + <see cref="Slack"/> keys.</param>
    public int Choose<TIndex>(int batch, int head, int row, void* scratch, TIndex* keys) where TIndex : unmanaged, IBinaryInteger<TIndex>
    {
        int seen = _problem.CountSeen(row, _problem.HasKvLengths ? _kvLengths.ReadInt32(batch) : _problem.KvLength);
        int count = Math.Min(_problem.Capacity, seen);
        if (count == seen)
        {
            for (int j = 0; j < count; j += Vector512<TIndex>.Count)
                (Vector512<TIndex>.Indices + Vector512.Create(TIndex.CreateTruncating(j))).Store(keys + j);
            return count;
        }
        if (count == 0)
            return 0;
        long words = Words(_problem);
        int used = (int)WordsOf(seen);
        ulong* kept = (ulong*)scratch, open = kept + words, planes = open + words;
        CountMatches(batch, head, row, used, planes);
        int need = count - Force(seen, used, kept, open);
        for (int plane = Planes(_problem) - 1; plane >= 0 && need > 0; plane--)
        {
            ulong* bits = planes + plane * words;
            int ahead = CountBoth(open, bits, used);
            if (ahead == 0)
                continue;
            // Open keys with the plane's bit are ahead of those without. When they are no more than needed they are kept, else the
            // others are out.
            Split(bits, used, ahead <= need, kept, open);
            need -= ahead <= need ? ahead : 0;
        }
        if (need > 0)
            TakeEquals(used, need, kept, open);
        WriteColumns(kept, used, keys);
        return count;
    }

    // bits[i] = bit i of the code words of 512 keys.
    private void TransposeBits(long head, int codeWord, int firstKey, ulong* bits)
    {
        int* codes = stackalloc int[16];
        int* source = (int*)_keyCodes.Address(head / _problem.NumKvHeads, head % _problem.NumKvHeads, 0, codeWord);
        for (int group = 0; group < BlockKeys / 16; group++)
        {
            for (int i = 0; i < 16; i++)
            {
                long key = firstKey + group * 16L + i;
                codes[i] = key < _problem.KvLength ? source[key * _keyCodes.Layout.Stride(2)] : 0;
            }
            Vector512<int> shifted = Vector512.Load(codes);
            for (int bit = SparseCodes.CodesPerWord * SparseCodes.CodeBits - 1; bit >= 0; bit--, shifted <<= 1)
                ((ushort*)(bits + bit * LaneWords))[group] = (ushort)shifted.ExtractMostSignificantBits();
        }
    }

    private static void WriteValues(ulong* bits, ulong* target, long words)
    {
        Vector512<ulong> b0 = Vector512.Load(bits), b1 = Vector512.Load(bits + LaneWords);
        Vector512<ulong> b2 = Vector512.Load(bits + 2 * LaneWords), b3 = Vector512.Load(bits + 3 * LaneWords);
        for (int code = 0; code < SparseCodes.Codewords; code++, target += words)
        {
            Vector512<ulong> low = ((code & 1) != 0 ? b0 : ~b0) & ((code & 2) != 0 ? b1 : ~b1);
            Vector512<ulong> high = ((code & 4) != 0 ? b2 : ~b2) & ((code & 8) != 0 ? b3 : ~b3);
            (low & high).Store(target);
        }
    }

    // Bit planes of the match counts, eight bitmaps at a time.
    private void CountMatches(int batch, int head, int row, int used, ulong* planes)
    {
        long words = Words(_problem);
        ulong** inputs = stackalloc ulong*[Inputs];
        int total = _problem.MostMatches, planeCount = StoredPlanes(_problem), query = head * _problem.HeadsOfList, m = 0;
        var codes = (int*)_queryCodes.Address(batch, query, row);
        ulong* bitmaps = _bitmaps + ((long)batch * _problem.NumKvHeads + query / _problem.GroupSize) * HeadWords(_problem);
        for (int first = 0; first < total; first += Inputs)
        {
            for (int i = 0; i < Inputs; i++)
            {
                inputs[i] = _zeros;
                if (first + i >= total)
                    continue;
                if (m == _problem.SubVectors) // heads of a list share their keys
                {
                    m = 0;
                    codes = (int*)_queryCodes.Address(batch, ++query, row);
                }
                inputs[i] = bitmaps + ((long)m * SparseCodes.Codewords + SparseCodes.Read(codes, m)) * words;
                m++;
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
                for (int p = FirstPlanes; p < planeCount; p++)
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

    // The keys that are kept whatever they match, and those that are still open: the others that the row sees. Returns how many are
    // kept; the row sees more than a list holds, so that first and last ones do not overlap.
    private int Force(int seen, int used, ulong* kept, ulong* open)
    {
        Clear(kept, used);
        Clear(open, used);
        SetRange(open, _problem.Sinks, seen - _problem.Recent);
        SetRange(kept, 0, _problem.Sinks);
        SetRange(kept, seen - _problem.Recent, seen);
        return _problem.Sinks + _problem.Recent;
    }

    private static void SetRange(ulong* bits, int first, int end)
    {
        if (first >= end)
            return;
        int firstWord = first / WordBits, lastWord = (end - 1) / WordBits;
        ulong head = ulong.MaxValue << first % WordBits, tail = ulong.MaxValue >> (WordBits - 1 - (end - 1) % WordBits);
        if (firstWord == lastWord)
        {
            bits[firstWord] |= head & tail;
            return;
        }
        bits[firstWord] |= head;
        new Span<ulong>(bits + firstWord + 1, lastWord - firstWord - 1).Fill(ulong.MaxValue);
        bits[lastWord] |= tail;
    }

    // The bits that are set in both: a shuffle counts those of sixteen halves of bytes at once.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static int CountBoth(ulong* a, ulong* b, int used)
    {
        int count = 0;
        if (!Avx512BW.IsSupported)
        {
            for (int word = 0; word < used; word++)
                count += BitOperations.PopCount(a[word] & b[word]);
            return count;
        }
        Vector512<byte> ones = Vector512.Create(Vector256.Create(Vector128.Create((byte)0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4)));
        Vector512<byte> half = Vector512.Create((byte)15);
        Vector512<ulong> sum = Vector512<ulong>.Zero;
        for (int word = 0; word < used; word += LaneWords)
        {
            Vector512<ulong> both = Vector512.Load(a + word) & Vector512.Load(b + word);
            Vector512<byte> low = both.AsByte() & half, high = (both >> 4).AsByte() & half;
            Vector512<byte> counts = Avx512BW.Shuffle(ones, low) + Avx512BW.Shuffle(ones, high);
            sum += Avx512BW.SumAbsoluteDifferences(counts, Vector512<byte>.Zero).AsUInt64();
        }
        return (int)Vector512.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Split(ulong* plane, int used, bool areKept, ulong* kept, ulong* open)
    {
        for (int word = 0; word < used; word += LaneWords)
        {
            Vector512<ulong> before = Vector512.Load(open + word), ahead = before & Vector512.Load(plane + word);
            if (areKept)
                (Vector512.Load(kept + word) | ahead).Store(kept + word);
            (areKept ? Vector512.AndNot(before, ahead) : ahead).Store(open + word);
        }
    }

    // All open keys match alike now: the last or first vectors of them, then words of one vector, then bits of a word.
    private void TakeEquals(int used, int need, ulong* kept, ulong* open)
    {
        for (int i = 0; i < used && need > 0; i += LaneWords)
        {
            int first = _problem.KeepsEarliest ? i : used - LaneWords - i, count = 0;
            for (int word = first; word < first + LaneWords; word++)
                count += BitOperations.PopCount(open[word]);
            if (count <= need)
                (Vector512.Load(kept + first) | Vector512.Load(open + first)).Store(kept + first);
            else
                TakeWords(first, need, kept, open);
            need -= count;
        }
    }

    private void TakeWords(int first, int need, ulong* kept, ulong* open)
    {
        for (int i = 0; need > 0; i++)
        {
            int word = _problem.KeepsEarliest ? first + i : first + LaneWords - 1 - i;
            ulong taken = open[word];
            int count = BitOperations.PopCount(taken);
            if (count > need)
            {
                ulong cut = taken;
                for (int before = _problem.KeepsEarliest ? need : count - need; before > 0; before--)
                    cut &= cut - 1;
                taken = _problem.KeepsEarliest ? taken & ~cut : cut;
            }
            kept[word] |= taken;
            need -= count;
        }
    }

    // The buffer has room for the keys of a word past the last column.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void WriteColumns<TIndex>(ulong* kept, int used, TIndex* buffer) where TIndex : unmanaged, IBinaryInteger<TIndex>
    {
        for (int word = 0; word < used; word++)
        {
            ulong bits = kept[word];
            if (!Avx512Vbmi2.IsSupported)
            {
                for (; bits != 0; bits &= bits - 1)
                    *buffer++ = TIndex.CreateTruncating(word * WordBits + BitOperations.TrailingZeroCount(bits));
                continue;
            }
            int count = BitOperations.PopCount(bits);
            Vector512<byte> keys = Avx512Vbmi2.Compress(Vector512<byte>.Zero, ExpandMask(bits), Vector512<byte>.Indices);
            if (sizeof(TIndex) == sizeof(ushort))
                StoreKeys(keys, count, (ushort)(word * WordBits), (ushort*)buffer);
            else
                StoreKeys(keys, count, word * WordBits, (int*)buffer);
            buffer += count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreKeys(Vector512<byte> keys, int count, int first, int* target)
    {
        Vector512<int> begin = Vector512.Create(first);
        (Avx512F.ConvertToVector512Int32(keys.GetLower().GetLower()) + begin).Store(target);
        if (count > 16)
        {
            (Avx512F.ConvertToVector512Int32(keys.GetLower().GetUpper()) + begin).Store(target + 16);
            if (count > 32)
            {
                (Avx512F.ConvertToVector512Int32(keys.GetUpper().GetLower()) + begin).Store(target + 32);
                (Avx512F.ConvertToVector512Int32(keys.GetUpper().GetUpper()) + begin).Store(target + 48);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreKeys(Vector512<byte> keys, int count, ushort first, ushort* target)
    {
        Vector512<ushort> begin = Vector512.Create(first);
        (Avx512BW.ConvertToVector512UInt16(keys.GetLower()) + begin).Store(target);
        if (count > 32)
            (Avx512BW.ConvertToVector512UInt16(keys.GetUpper()) + begin).Store(target + 32);
    }

    // A byte of ones for each bit: each byte of eight takes the same byte of the word, and looks at its own bit.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<byte> ExpandMask(ulong bits)
    {
        const ulong EachByte = 0x0101010101010101ul;
        Vector512<byte> spread = Vector512.Create(
            0ul, EachByte, 2 * EachByte, 3 * EachByte, 4 * EachByte, 5 * EachByte, 6 * EachByte, 7 * EachByte).AsByte();
        Vector512<byte> places = Vector512.Create(0x8040201008040201ul).AsByte();
        return Vector512.Equals(Avx512BW.Shuffle(Vector512.Create(bits).AsByte(), spread) & places, places);
    }

    private static void Clear(ulong* words, long count) =>
        System.Runtime.InteropServices.NativeMemory.Clear(words, (nuint)(count * sizeof(ulong)));
}
