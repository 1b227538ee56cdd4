using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>
/// Appends new keys and values to a cache, keys turned to their positions (Su et al. 2021, arXiv:2104.09864), and turns the
/// queries of the same tokens in place: <c>(x, y) → (x·cos − y·sin, y·cos + x·sin)</c>. One group of 64 threads has one head of
/// one token: a key, a value or a query. Each thread takes pairs, so that in place no element is read after it was written.
/// </summary>
internal static class AppendRows
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 64;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T, TKv> where T : unmanaged where TKv : unmanaged
    {
        public TokenTensor<T> NewKey, NewValue, Query; // [batchSize, newLength, heads, dim]
        public TokenTensor<TKv> KeyCache, ValueCache;  // [batchSize, capacity, numKvHeads, dim] or [poolPages, pageSize, headsOfAPage, dim]
        public ArrayView<int> Positions;               // [batchSize]
        public MatrixView<float> Cos, Sin;             // [maxPosition, rotaryDim / 2]
        public ArrayView<int> KvLengths;               // [batchSize, numKvHeads]
        public ArrayView<int> PageTable;               // [batchSize, numKvHeads, pages]
        public long LengthsStride, TableBatchStride, TableHeadStride;
        public int NumHeads, NumKvHeads, NewLength, HeadDim, ValueHeadDim, HalfDim, IsInterleaved, HasLengths, PageSize, IsHeadPaged;
    }

    /// <summary>The kernel; numKvHeads keys, numKvHeads values and numHeads queries for each new token.</summary>
    public static void AppendTokens<T, TStorage, TKv, TKvStorage>(Parameters<T, TKv> p)
        where T : unmanaged where TStorage : struct, IStorage<T>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>
    {
        int heads = 2 * p.NumKvHeads + p.NumHeads;
        int head = Grid.IdxX % heads, token = Grid.IdxX / heads % p.NewLength, batch = Grid.IdxX / heads / p.NewLength;
        int position = p.Positions[batch] + token;
        if (head < 2 * p.NumKvHeads)
        {
            bool isKey = head < p.NumKvHeads;
            int kvHead = isKey ? head : head - p.NumKvHeads;
            int slot = p.HasLengths != 0 ? p.KvLengths[batch * p.LengthsStride + kvHead] + token : position;
            int outer = batch, targetHead = kvHead;
            if (p.PageSize > 0)
            {
                outer = p.PageTable[batch * p.TableBatchStride + kvHead * p.TableHeadStride + slot / p.PageSize];
                slot %= p.PageSize;
                targetHead = p.IsHeadPaged != 0 ? 0 : kvHead;
            }
            if (isKey)
            {
                long source = p.NewKey.Offset(batch, token, kvHead), target = p.KeyCache.Offset(outer, slot, targetHead);
                for (int i = Group.IdxX; i < p.HalfDim; i += Threads)
                {
                    int first = p.IsInterleaved != 0 ? 2 * i : i, second = p.IsInterleaved != 0 ? 2 * i + 1 : i + p.HalfDim;
                    float cos = p.Cos.Data[position * p.Cos.RowStride + i], sin = p.Sin.Data[position * p.Sin.RowStride + i];
                    float x = TStorage.Load(p.NewKey.Data[source + first]), y = TStorage.Load(p.NewKey.Data[source + second]);
                    p.KeyCache.Data[target + first] = TKvStorage.Store(x * cos - y * sin);
                    p.KeyCache.Data[target + second] = TKvStorage.Store(y * cos + x * sin);
                }
                for (int i = 2 * p.HalfDim + Group.IdxX; i < p.HeadDim; i += Threads)
                    p.KeyCache.Data[target + i] = TKvStorage.Store(TStorage.Load(p.NewKey.Data[source + i]));
            }
            else
            {
                long source = p.NewValue.Offset(batch, token, kvHead), target = p.ValueCache.Offset(outer, slot, targetHead);
                for (int i = Group.IdxX; i < p.ValueHeadDim; i += Threads)
                    p.ValueCache.Data[target + i] = TKvStorage.Store(TStorage.Load(p.NewValue.Data[source + i]));
            }
        }
        else
        {
            long query = p.Query.Offset(batch, token, head - 2 * p.NumKvHeads);
            for (int i = Group.IdxX; i < p.HalfDim; i += Threads)
            {
                long first = query + (p.IsInterleaved != 0 ? 2 * i : i), second = query + (p.IsInterleaved != 0 ? 2 * i + 1 : i + p.HalfDim);
                float cos = p.Cos.Data[position * p.Cos.RowStride + i], sin = p.Sin.Data[position * p.Sin.RowStride + i];
                float x = TStorage.Load(p.Query.Data[first]), y = TStorage.Load(p.Query.Data[second]);
                p.Query.Data[first] = TStorage.Store(x * cos - y * sin);
                p.Query.Data[second] = TStorage.Store(y * cos + x * sin);
            }
        }
    }
}
