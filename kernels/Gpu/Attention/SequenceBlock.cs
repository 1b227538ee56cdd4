using System.Runtime.CompilerServices;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// A group's block of query rows or of keys in the kernels on mma, and the sequence that it belongs to. Ragged sequence s has the
/// blocks from offsets[s] / size + s on: at least as many as it needs, so that a group finds its own in a few steps. Some are empty.
/// </summary>
internal struct SequenceBlock
{
    /// <summary>Where the sequence begins among all rows, and how long it is.</summary>
    public int QueryStart, QueryLength;

    /// <summary>Where the sequence begins among all keys, and how many it has.</summary>
    public int KeyStart, KvLength;

    /// <summary>The block's first row or key within its sequence.</summary>
    public int First;

    /// <summary>Position of the sequence's row 0 among its keys.</summary>
    public int Diagonal;

    /// <summary>A block of query rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SequenceBlock OfQueries<TSequences>(ref SequenceParameters p, int block, int size)
        where TSequences : struct, ISequences => Find<TSequences>(ref p, p.QueryOffsets, block, size);

    /// <summary>A block of keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SequenceBlock OfKeys<TSequences>(ref SequenceParameters p, int block, int size)
        where TSequences : struct, ISequences => Find<TSequences>(ref p, p.KvOffsets, block, size);

    /// <summary>The first key that a row sees; also for the rows past the last query of the last block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int FirstKey(ref SequenceParameters p, int row) => ScoreRange.Within((long)row + Diagonal - p.WindowLeft, KvLength);

    /// <summary>The end of the keys that a row sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int EndKey(ref SequenceParameters p, int row) => ScoreRange.Within((long)row + Diagonal + p.WindowRight + 1, KvLength);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static SequenceBlock Find<TSequences>(ref SequenceParameters p, long offsets, int block, int size)
        where TSequences : struct, ISequences
    {
        var result = default(SequenceBlock);
        result.QueryLength = p.QueryLength;
        result.KvLength = p.KvLength;
        if (TSequences.AreRagged != 0)
        {
            int sequence = 0, end = p.Count;
            while (end - sequence > 1)
            {
                int middle = (sequence + end) >> 1;
                if (Load(offsets, middle) / size + middle <= block)
                    sequence = middle;
                else
                    end = middle;
            }
            sequence = Registers.Uniform(sequence);
            block -= Load(offsets, sequence) / size + sequence;
            result.QueryStart = Load(p.QueryOffsets, sequence);
            result.QueryLength = Load(p.QueryOffsets, sequence + 1) - result.QueryStart;
            result.KeyStart = Load(p.KvOffsets, sequence);
            result.KvLength = Load(p.KvOffsets, sequence + 1) - result.KeyStart;
        }
        result.First = block * size;
        result.Diagonal = p.IsTopLeft != 0 ? 0 : result.KvLength - result.QueryLength;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Load(long integers, int index)
    {
        CudaAsm.Emit("ld.global.b32 %0, [%1];", out int value, integers + 4L * index);
        return value;
    }
}
