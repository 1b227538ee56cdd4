using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Every option of attention, apart from the loops over keys, so that forward and backward agree. A group keeps a table of
/// its rows in shared memory (<see cref="Fields"/> integers a row): which keys each sees, its query and its head.
/// </summary>
internal static class ScoreOptions
{
    /// <summary>Integers a row of the table.</summary>
    public const int Fields = 6;

    /// <summary>log2 e.</summary>
    public const float Log2E = 1.44269504f;

    private const int SinkEnd = 0, First = 1, End = 2, Query = 3, Head = 4, Position = 5;

    /// <summary>
    /// The sequence and first row of a group, whose number among the row blocks of its head is <paramref name="block"/>.
    /// Where sequences are ragged they have their row blocks one after another, and the last numbers may have none.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SequenceRows FindRows(ref ScoreParameters p, int block, int kvHead, int sequence, int blockRows)
    {
        var result = default(SequenceRows);
        result.KvHead = kvHead;
        if (p.IsRagged != 0)
        {
            int found = -1;
            for (int s = 0; s < p.NumSequences && found < 0; s++)
            {
                int blocks = (p.GroupSize * (p.QueryOffsets[s + 1] - p.QueryOffsets[s]) + blockRows - 1) / blockRows;
                if (block < blocks)
                    found = s;
                else
                    block -= blocks;
            }
            if (found >= 0)
            {
                SetRagged(ref p, ref result, found);
                result.FirstRow = block * blockRows;
            }
        }
        else
        {
            SetSequence(ref p, ref result, sequence);
            result.FirstRow = block * blockRows;
        }
        return result;
    }

    /// <summary>
    /// The sequence and first key of a group that owns block <paramref name="block"/> of a key/value head's keys. Its FirstRow
    /// is the first key; −1 when there is no such block.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SequenceRows FindKeys(ref ScoreParameters p, int block, int kvHead, int sequence, int blockKeys)
    {
        var result = default(SequenceRows);
        result.KvHead = kvHead;
        result.FirstRow = -1;
        if (p.IsRagged != 0)
        {
            int found = -1;
            for (int s = 0; s < p.NumSequences && found < 0; s++)
            {
                int blocks = (p.KvOffsets[s + 1] - p.KvOffsets[s] + blockKeys - 1) / blockKeys;
                if (block < blocks)
                    found = s;
                else
                    block -= blocks;
            }
            if (found >= 0)
            {
                SetRagged(ref p, ref result, found);
                result.FirstRow = block * blockKeys;
            }
        }
        else
        {
            SetSequence(ref p, ref result, sequence);
            result.FirstRow = block * blockKeys;
        }
        return result;
    }

    /// <summary>Sets where a sequence of a batch lies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetSequence(ref ScoreParameters p, ref SequenceRows sequence, int index)
    {
        sequence.Index = index;
        sequence.Batch = index;
        sequence.QueryLength = p.QueryLength;
        sequence.KvLength = p.KvLength;
        sequence.RowCount = p.GroupSize * p.QueryLength;
    }

    /// <summary>Sets where ragged sequence <paramref name="s"/> lies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetRagged(ref ScoreParameters p, ref SequenceRows sequence, int s)
    {
        sequence.Index = s;
        sequence.QueryStart = p.QueryOffsets[s];
        sequence.QueryLength = p.QueryOffsets[s + 1] - sequence.QueryStart;
        sequence.KeyStart = p.KvOffsets[s];
        sequence.KvLength = p.KvOffsets[s + 1] - sequence.KeyStart;
        sequence.RowCount = p.GroupSize * sequence.QueryLength;
    }

    /// <summary>Fills one row of the table with a packed row; those past the sequence's last see nothing and have query −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetPackedRow(ref ScoreParameters p, ArrayView<int> table, int slot, ref SequenceRows sequence, int row)
    {
        bool isRow = row < sequence.RowCount;
        int query = isRow ? row / p.GroupSize : 0, head = sequence.KvHead * p.GroupSize + (isRow ? row % p.GroupSize : 0);
        SetRow(ref p, table, slot, ref sequence, query, head, isRow);
    }

    /// <summary>Fills one row of the table; one that is none sees nothing and has query −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetRow(
        ref ScoreParameters p, ArrayView<int> table, int slot, ref SequenceRows sequence, int query, int head, bool isRow)
    {
        int position = query + (p.IsTopLeft != 0 ? 0 : sequence.KvLength - sequence.QueryLength);
        int windowLeft = p.WindowLeft, sinkCount = p.SinkCount;
        if (p.HasHeadWindows != 0)
        {
            windowLeft = p.HeadWindows[head * p.HeadWindowStride];
            sinkCount = p.HeadWindows[head * p.HeadWindowStride + 1];
            sinkCount = sinkCount > 0 ? sinkCount : 0;
        }

        long right = p.IsCausal != 0 ? 0 : p.WindowRight, keys = sequence.KvLength;
        long end = right < 0 ? keys : Clamp(position + right + 1, keys);
        long first = windowLeft < 0 ? 0 : Clamp((long)position - windowLeft, end);
        long sinkEnd = sinkCount < end ? sinkCount : end;
        if (p.ChunkSize > 0)
        {
            int chunk = position >= 0 ? position / p.ChunkSize : -((p.ChunkSize - 1 - position) / p.ChunkSize);
            long chunkStart = (long)chunk * p.ChunkSize;
            end = Clamp(chunkStart + p.ChunkSize, end);
            first = chunkStart > first ? chunkStart : first;
        }
        if (first >= end)
        {
            first = 0;
            end = 0;
        }
        else if (sinkEnd >= first)
        {
            first = 0;
            end = sinkEnd > end ? sinkEnd : end;
            sinkEnd = 0;
        }
        int at = slot * Fields;
        table[at + SinkEnd] = isRow ? (int)sinkEnd : 0;
        table[at + First] = isRow ? (int)first : 0;
        table[at + End] = isRow ? (int)end : 0;
        table[at + Query] = isRow ? query : -1;
        table[at + Head] = head;
        table[at + Position] = position;
    }

    /// <summary>The query row within its sequence, or −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int QueryOf(ArrayView<int> table, int slot) => table[slot * Fields + Query];

    /// <summary>The query head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int HeadOf(ArrayView<int> table, int slot) => table[slot * Fields + Head];

    /// <summary>How far a key is from the row's own position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Distance(ArrayView<int> table, int slot, int key)
    {
        int distance = table[slot * Fields + Position] - key;
        return distance < 0 ? -distance : distance;
    }

    /// <summary>Whether the row's range has the key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsInRange(ArrayView<int> table, int slot, int key)
    {
        int at = slot * Fields;
        return key < table[at + SinkEnd] || (key >= table[at + First] && key < table[at + End]);
    }

    /// <summary>The blocks of keys that the rows of a table see between them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static KeyBlocks FindBlocks(ArrayView<int> table, int rows, int blockKeys)
    {
        int sinkEnd = 0, first = int.MaxValue, end = 0;
        for (int slot = 0; slot < rows; slot++)
        {
            int at = slot * Fields, rowFirst = table[at + First], rowEnd = table[at + End];
            sinkEnd = table[at + SinkEnd] > sinkEnd ? table[at + SinkEnd] : sinkEnd;
            end = rowEnd > end ? rowEnd : end;
            if (rowEnd > rowFirst)
                first = rowFirst < first ? rowFirst : first;
        }
        var blocks = new KeyBlocks { SinkBlocks = (sinkEnd + blockKeys - 1) / blockKeys, KeyEnd = end > sinkEnd ? end : sinkEnd };
        blocks.FirstBlock = (first < end ? first : end) / blockKeys;
        blocks.FirstBlock = blocks.FirstBlock > blocks.SinkBlocks ? blocks.FirstBlock : blocks.SinkBlocks;
        int windowBlocks = (end + blockKeys - 1) / blockKeys - blocks.FirstBlock;
        blocks.Count = blocks.SinkBlocks + (windowBlocks > 0 ? windowBlocks : 0);
        return blocks;
    }

    /// <summary>The query rows of a sequence that may see some of the keys key0 .. keyEnd − 1: at least all that do.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static QueryRange FindQueries(ref ScoreParameters p, ref SequenceRows sequence, int key0, int keyEnd)
    {
        long offset = p.IsTopLeft != 0 ? 0 : (long)sequence.KvLength - sequence.QueryLength;
        long first = 0, end = sequence.QueryLength, right = p.IsCausal != 0 ? 0 : p.WindowRight;
        if (right >= 0)
            first = key0 - offset - right;
        if (p.HasHeadWindows == 0 && key0 >= p.SinkCount)
        {
            if (p.WindowLeft >= 0)
                end = Least(end, keyEnd - offset + p.WindowLeft);
            if (p.ChunkSize > 0)
            {
                long chunkFirst = (long)(key0 / p.ChunkSize) * p.ChunkSize - offset;
                first = chunkFirst > first ? chunkFirst : first;
                end = Least(end, ((long)((keyEnd - 1) / p.ChunkSize) + 1) * p.ChunkSize - offset);
            }
        }
        first = first > 0 ? first : 0;
        return new QueryRange { First = (int)Least(first, sequence.QueryLength), End = end > first ? (int)end : 0 };
    }

    /// <summary>Whether a mask or block mask leaves a key of the row's range.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsUnmasked(ref ScoreParameters p, ArrayView<int> table, int slot, int batch, int key)
    {
        int query = table[slot * Fields + Query], head = table[slot * Fields + Head];
        bool isVisible = true;
        if (p.HasMask != 0)
        {
            isVisible = p.Mask[
                batch * p.MaskBatchStride + head * p.MaskHeadStride + query * p.MaskRowStride + (long)key * p.MaskKeyStride] != 0;
        }
        if (p.MaskBlock > 0)
        {
            byte element = p.BlockMask[
                batch * p.BlockBatchStride + head * p.BlockHeadStride + query / p.MaskBlock * p.BlockRowStride + key / p.MaskBlock];
            isVisible = isVisible && element != 0;
        }
        return isVisible;
    }

    /// <summary>softCap · tanh(x / softCap); x without a cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Cap(ref ScoreParameters p, float x) =>
        p.LogitSoftCap > 0f ? p.LogitSoftCap * HyperbolicTangent.Of(x / p.LogitSoftCap) : x;

    /// <summary>What linear bias and bias add to a capped score of a visible key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float AddBiases(ref ScoreParameters p, ArrayView<int> table, int slot, ref SequenceRows sequence, int key, float score)
    {
        int query = table[slot * Fields + Query], head = table[slot * Fields + Head];
        if (p.HasSlopes != 0)
            score -= p.AlibiSlopes[sequence.Index * p.SlopeStride + head] * Distance(table, slot, key);
        if (p.HasBias != 0)
        {
            long offset = sequence.Batch * p.BiasBatchStride + head * p.BiasHeadStride + query * p.BiasRowStride;
            score += TypedTensor.Read(p.Bias, p.BiasType, offset + (long)key * p.BiasKeyStride);
        }
        return score;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Least(long a, long b) => a < b ? a : b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Clamp(long value, long upper) => value < 0 ? 0 : value < upper ? value : upper;
}
