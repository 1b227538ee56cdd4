using System.Runtime.CompilerServices;
using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Appends new keys and values to a cache, keys turned to their positions (Su et al. 2021, arXiv:2104.09864), and turns the
/// queries of the same tokens in place: <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>. One group of 64 threads has one head of
/// one token: a key, a value or a query. The finished row lies in shared memory; an i8 cache stores it in units of its largest
/// magnitude / 127, the row's scale. Shared memory: 4 · (256 + 64) bytes.
/// </summary>
internal static class AppendRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>Shared memory of a group.</summary>
    public const int SharedBytes = 4 * (MaxHeadDim + Threads);

    private const int MaxHeadDim = 256;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T, TKv> where T : unmanaged where TKv : unmanaged
    {
        public TokenTensor<T> NewKey, NewValue, Query; // [batchSize, newLength, heads, dim]
        public TokenTensor<TKv> KeyCache, ValueCache;  // [batchSize, capacity, numKvHeads, dim] or [poolPages, pageSize, headsOfAPage, dim]
        public ArrayView<float> KeyScale, ValueScale;  // [batchSize, numKvHeads, capacity] or [poolPages, headsOfAPage, pageSize]
        public ArrayView<int> Positions;               // [batchSize]
        public MatrixView<float> Cos, Sin;             // [maxPosition, rotaryDim / 2]
        public ArrayView<int> KvLengths;               // [batchSize, numKvHeads]
        public ArrayView<int> PageTable;               // [batchSize, numKvHeads, pages]
        public long LengthsStride, TableBatchStride, TableHeadStride;
        public long KeyScaleBatchStride, KeyScaleHeadStride, ValueScaleBatchStride, ValueScaleHeadStride;
        public int NumHeads, NumKvHeads, NewLength, HeadDim, ValueHeadDim, HalfDim, IsInterleaved, HasLengths, HasScales, PageSize, IsHeadPaged;
    }

    /// <summary>The kernel; numKvHeads keys, numKvHeads values and numHeads queries for each new token.</summary>
    public static void AppendTokens<T, TStorage, TKv, TKvStorage>(Parameters<T, TKv> p)
        where T : unmanaged where TStorage : struct, IStorage<T>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        ArrayView<float> row = SharedMemory.Allocate<float>(MaxHeadDim);
        ArrayView<int> largest = SharedMemory.Allocate<int>(Threads);
        int heads = 2 * p.NumKvHeads + p.NumHeads;
        int head = Grid.IdxX % heads, token = Grid.IdxX / heads % p.NewLength, batch = Grid.IdxX / heads / p.NewLength;
        int position = p.Positions[batch] + token;
        bool isKey = head < p.NumKvHeads, isQuery = head >= 2 * p.NumKvHeads;
        if (isKey)
            LoadRow<T, TStorage, TKv>(ref p, row, p.NewKey.Data, p.NewKey.Offset(batch, token, head), position, p.HalfDim, p.HeadDim);
        else if (isQuery)
            LoadRow<T, TStorage, TKv>(ref p, row, p.Query.Data, p.Query.Offset(batch, token, head - 2 * p.NumKvHeads), position, p.HalfDim, 2 * p.HalfDim);
        else
            LoadRow<T, TStorage, TKv>(ref p, row, p.NewValue.Data, p.NewValue.Offset(batch, token, head - p.NumKvHeads), position, 0, p.ValueHeadDim);
        Group.Barrier();
        int size = isKey ? p.HeadDim : isQuery ? 2 * p.HalfDim : p.ValueHeadDim;
        int bits = 0;
        for (int i = Group.IdxX; i < size; i += Threads)
            bits = Larger(bits, (int)(Interop.FloatAsInt(row[i]) & 0x7FFFFFFFu));
        largest[Group.IdxX] = bits;
        Group.Barrier();
        if (isQuery)
        {
            long query = p.Query.Offset(batch, token, head - 2 * p.NumKvHeads);
            for (int i = Group.IdxX; i < size; i += Threads)
                p.Query.Data[query + i] = TStorage.Store(row[i]);
        }
        else
        {
            int kvHead = isKey ? head : head - p.NumKvHeads;
            int slot = p.HasLengths != 0 ? p.KvLengths[batch * p.LengthsStride + kvHead] + token : position;
            int outer = batch, targetHead = kvHead;
            if (p.PageSize > 0)
            {
                outer = p.PageTable[batch * p.TableBatchStride + kvHead * p.TableHeadStride + slot / p.PageSize];
                slot %= p.PageSize;
                targetHead = p.IsHeadPaged != 0 ? 0 : kvHead;
            }
            float scale = 1f;
            if (p.HasScales != 0)
            {
                for (int i = 0; i < Threads; i++)
                    bits = Larger(bits, largest[i]);
                scale = Interop.IntAsFloat((uint)bits) / 127f;
                if (Group.IdxX == 0 && isKey)
                    p.KeyScale[outer * p.KeyScaleBatchStride + targetHead * p.KeyScaleHeadStride + slot] = scale;
                if (Group.IdxX == 0 && !isKey)
                    p.ValueScale[outer * p.ValueScaleBatchStride + targetHead * p.ValueScaleHeadStride + slot] = scale;
            }
            if (isKey)
                StoreRow<T, TKv, TKvStorage>(ref p, row, p.KeyCache.Data, p.KeyCache.Offset(outer, slot, targetHead), size, scale);
            else
                StoreRow<T, TKv, TKvStorage>(ref p, row, p.ValueCache.Data, p.ValueCache.Offset(outer, slot, targetHead), size, scale);
        }
    }

    // The first 2 · halfDim elements turn, the others up to size are copied.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRow<T, TStorage, TKv>(
        ref Parameters<T, TKv> p, ArrayView<float> row, ArrayView<T> data, long source, int position, int halfDim, int size)
        where T : unmanaged where TStorage : struct, IStorage<T> where TKv : unmanaged
    {
        for (int i = Group.IdxX; i < halfDim; i += Threads)
        {
            int first = p.IsInterleaved != 0 ? 2 * i : i, second = p.IsInterleaved != 0 ? 2 * i + 1 : i + halfDim;
            float cos = p.Cos.Data[position * p.Cos.RowStride + i], sin = p.Sin.Data[position * p.Sin.RowStride + i];
            float x = TStorage.Load(data[source + first]), y = TStorage.Load(data[source + second]);
            row[first] = x * cos - y * sin;
            row[second] = y * cos + x * sin;
        }
        for (int i = 2 * halfDim + Group.IdxX; i < size; i += Threads)
            row[i] = TStorage.Load(data[source + i]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<T, TKv, TKvStorage>(ref Parameters<T, TKv> p, ArrayView<float> row, ArrayView<TKv> data, long target, int size, float scale)
        where T : unmanaged where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        for (int i = Group.IdxX; i < size; i += Threads)
            data[target + i] = TKvStorage.Store(p.HasScales != 0 ? Quantise(row[i] / scale) : row[i]);
    }

    // −127 to 127; what is no number, as of a row of zeros or with an infinity, is 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Quantise(float value)
    {
        float clamped = value > 127f ? 127f : value < -127f ? -127f : value;
        return (Interop.FloatAsInt(value) & 0x7FFFFFFFu) > 0x7F800000u ? 0f : clamped;
    }

    // As integers magnitudes are in order, and NaN comes last.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Larger(int a, int b) => a > b ? a : b;
}
