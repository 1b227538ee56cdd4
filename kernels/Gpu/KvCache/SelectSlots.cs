using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.KvCache;

/// <summary>
/// The slots of each cell of a cache that are worth keeping, exactly and without sorting. A slot is the number (key, slot, cells − 1 −
/// cell), the key being an integer in the order of the scores: no two are equal, and the better is the larger. The first kernel finds
/// the last one that a budget keeps, eight bits at a time, by histograms in shared memory; one group of 128 threads has one cell, or
/// all cells when they share their budgets. The second kernel, one group a cell, writes the slots not below it: each thread counts
/// in its own run of slots, then writes. Counts are integers, so that their order does not matter. Shared memory: 4 · (256 + 16) and
/// 4 · 128 bytes.
/// </summary>
internal static class SelectSlots
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Shared memory of a group that searches.</summary>
    public const int SearchSharedBytes = 4 * (Bins + Parts);

    /// <summary>Shared memory of a group that writes.</summary>
    public const int WriteSharedBytes = 4 * Threads;

    /// <summary>Numbers of the last slot kept.</summary>
    public const int Words = 3;

    private const int DigitBits = 8, Bins = 1 << DigitBits, Parts = 16, KeyDigits = 4;
    private const uint InfinityKey = 0xFF800000u;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixView<float> Scores;           // [cells, slots]
        public MatrixView<int> Kept;               // [cells, slots]
        public ArrayView<int> Lengths, Budgets, KeptCounts; // [cells]
        public ArrayView<int> LastKept;            // [units, 3]: the least key, slot and cells − 1 − cell that is kept
        public int Cells, Slots;
        public int CellsOfUnit;                    // cells that share their budgets: 1 or all
        public int SlotDigits, CellDigits;         // digits of eight bits of a slot's and a cell's number
    }

    /// <summary>The first kernel; one group for each cell or one for all.</summary>
    public static void FindLastKept(Parameters p)
    {
        ArrayView<int> bins = SharedMemory.Allocate<int>(Bins);
        ArrayView<int> parts = SharedMemory.Allocate<int>(Parts);
        int firstCell = Grid.IdxX * p.CellsOfUnit, endCell = firstCell + p.CellsOfUnit;
        long count = 0, budget = 0;
        for (int c = firstCell; c < endCell; c++)
        {
            count += p.Lengths[c];
            budget += p.Budgets[c];
        }
        var last = new Search { Key = budget == 0 && count > 0 ? InfinityKey : 0u };
        int rank = (int)(budget < count ? budget : 0);
        int passes = rank == 0 ? 0 : KeyDigits + p.SlotDigits + p.CellDigits;
        int pass = 0;
        while (pass < passes)
        {
            last.Begin(pass, ref p);
            for (int i = Group.IdxX; i < Bins; i += Threads)
                bins[i] = 0;
            Group.Barrier();
            for (int c = firstCell; c < endCell; c++)
            {
                int length = p.Lengths[c];
                for (int j = Group.IdxX; j < length; j += Threads)
                {
                    uint key = KeyOf(p.Scores.Data[c * p.Scores.RowStride + j]), cell = (uint)(p.Cells - 1 - c);
                    if (last.HasPrefix(key, (uint)j, cell))
                        Atomic.Add(ref bins[last.DigitOf(key, (uint)j, cell)], 1);
                }
            }
            Group.Barrier();
            if (Group.IdxX < Parts)
            {
                int sum = 0;
                for (int i = 0; i < Bins / Parts; i++)
                    sum += bins[Group.IdxX * (Bins / Parts) + i];
                parts[Group.IdxX] = sum;
            }
            Group.Barrier();
            int part = Parts - 1;
            while (rank > parts[part])
            {
                rank -= parts[part];
                part--;
            }
            int digit = part * (Bins / Parts) + Bins / Parts - 1;
            while (rank > bins[digit])
            {
                rank -= bins[digit];
                digit--;
            }
            last.Take((uint)digit);
            // All that share what was found so far are kept, or they are protected: zeros follow.
            bool isEnd = rank == bins[digit] || (pass == KeyDigits - 1 && last.Key == InfinityKey);
            pass = isEnd ? passes : pass + 1;
            Group.Barrier();
        }
        if (Group.IdxX == 0)
        {
            p.LastKept[Grid.IdxX * Words] = (int)last.Key;
            p.LastKept[Grid.IdxX * Words + 1] = (int)last.Slot;
            p.LastKept[Grid.IdxX * Words + 2] = (int)last.Cell;
        }
    }

    /// <summary>The second kernel; one group a cell.</summary>
    public static void WriteKept(Parameters p)
    {
        ArrayView<int> counts = SharedMemory.Allocate<int>(Threads);
        int c = Grid.IdxX, unit = c / p.CellsOfUnit;
        uint lastKey = (uint)p.LastKept[unit * Words], lastSlot = (uint)p.LastKept[unit * Words + 1],
            lastCell = (uint)p.LastKept[unit * Words + 2];
        // Of the slots that are equal in all but the cell, the larger cell number here, the lower cell, is kept.
        lastSlot += (uint)(p.Cells - 1 - c) >= lastCell ? 0u : 1u;
        int length = p.Lengths[c];
        int run = (length + Threads - 1) / Threads;
        int begin = Group.IdxX * run, end = begin + run < length ? begin + run : length;
        int count = 0;
        for (int j = begin; j < end; j++)
        {
            uint key = KeyOf(p.Scores.Data[c * p.Scores.RowStride + j]);
            count += key > lastKey || (key == lastKey && (uint)j >= lastSlot) ? 1 : 0;
        }
        counts[Group.IdxX] = count;
        Group.Barrier();
        int at = 0, total = 0;
        for (int i = 0; i < Threads; i++)
        {
            at += i < Group.IdxX ? counts[i] : 0;
            total += counts[i];
        }
        long row = c * p.Kept.RowStride;
        for (int j = begin; j < end; j++)
        {
            uint key = KeyOf(p.Scores.Data[c * p.Scores.RowStride + j]);
            if (key > lastKey || (key == lastKey && (uint)j >= lastSlot))
            {
                p.Kept.Data[row + at] = j;
                at++;
            }
        }
        for (int j = total + Group.IdxX; j < p.Slots; j += Threads)
            p.Kept.Data[row + j] = -1;
        if (Group.IdxX == 0)
            p.KeptCounts[c] = total;
    }

    // Unsigned integers in the order of the scores: NaN is −∞, and −0 equals 0. Bits alone, whatever a device does with subnormals.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint KeyOf(float score)
    {
        uint bits = Interop.FloatAsInt(score), magnitude = bits & 0x7FFFFFFFu;
        bits = magnitude == 0u ? 0u : magnitude > 0x7F800000u ? 0xFF800000u : bits;
        return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
    }

    // What is known of the last slot kept: its high bits. The same in every thread.
    private struct Search
    {
        public uint Key, Slot, Cell;
        private uint _keyMask, _slotMask, _cellMask;
        private int _word, _shift;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Begin(int pass, ref Parameters p)
        {
            _word = pass < KeyDigits ? 0 : pass < KeyDigits + p.SlotDigits ? 1 : 2;
            int digits = _word == 0 ? KeyDigits : _word == 1 ? KeyDigits + p.SlotDigits : KeyDigits + p.SlotDigits + p.CellDigits;
            _shift = DigitBits * (digits - 1 - pass);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly bool HasPrefix(uint key, uint slot, uint cell) =>
            (((key ^ Key) & _keyMask) | ((slot ^ Slot) & _slotMask) | ((cell ^ Cell) & _cellMask)) == 0u;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int DigitOf(uint key, uint slot, uint cell) =>
            (int)(((_word == 0 ? key : _word == 1 ? slot : cell) >> _shift) & (Bins - 1));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Take(uint digit)
        {
            uint bits = digit << _shift, mask = ~((1u << _shift) - 1u);
            Key |= _word == 0 ? bits : 0u;
            Slot |= _word == 1 ? bits : 0u;
            Cell |= _word == 2 ? bits : 0u;
            _keyMask = _word == 0 ? mask : _keyMask;
            _slotMask = _word == 1 ? mask : _slotMask;
            _cellMask = _word == 2 ? mask : _cellMask;
        }
    }
}
