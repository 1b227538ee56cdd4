using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.SparseAttention;

/// <summary>
/// The loss of a codebook and its gradients (see the problem for the formulas). In the first kernel a group of 128 threads has one
/// sub-vector of a range of rows, 32 rows at a time in shared memory: threads have four codewords of a row each for distances, rows for
/// weights, and then components of codewords, whose gradients they add up. The second kernel adds the groups' sums in order. No sum
/// depends on timing. Shared memory: 4 · (3 · 32 · 64 + 3 · 32 · 16 + 32 + 144) bytes.
/// </summary>
internal static class CodebookTiles
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = GroupReduce.Threads;

    /// <summary>Rows that a group takes at once.</summary>
    public const int TileRows = 32;

    /// <summary>Shared memory of a group that adds up.</summary>
    public const int SharedBytes = sizeof(float) * (3 * TileRows * MaxSize + 3 * TileRows * Codewords + TileRows + GroupReduce.ScratchSize);

    private const int Codewords = 16, MaxSize = 64, Quarter = Codewords / 4;

    /// <summary>The arguments.</summary>
    internal struct Parameters<T> where T : unmanaged
    {
        public TokenTensor<T> Rows, GradRows;                     // [batchSize, tokens, numHeads, headDim]
        public TokenTensor<float> Codebook, GradCodebook;         // [subVectors, 16, subVectorSize]
        public ArrayView<float> Loss;                             // [1]
        public ArrayView<float> Sums;                             // [subVectors, chunks, 16, subVectorSize]
        public ArrayView<float> Losses;                           // [subVectors, chunks]
        public long RowCount, ChunkRows;
        public int Tokens, NumHeads, HeadDim, SubVectors, SubVectorSize, Chunks, HasRowGradient;
        public float Factor, LeastDistance;                       // 2 / elements
    }

    private struct Tile
    {
        public ArrayView<float> Z, R, Direct;                     // [32, 64]: components, gradient of the soft codeword, both gradients of the nearest
        public ArrayView<float> Distances, Weights, Slopes;       // [32, 16]
        public ArrayView<int> Codes;                              // [32]
        public long First;                                        // its first row
        public int Count, SubVector, Size;
    }

    /// <summary>The first kernel; one group for each sub-vector and range of rows.</summary>
    public static void AddRows<T, TStorage>(Parameters<T> p) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        var tile = new Tile
        {
            Z = SharedMemory.Allocate<float>(TileRows * MaxSize),
            R = SharedMemory.Allocate<float>(TileRows * MaxSize),
            Direct = SharedMemory.Allocate<float>(TileRows * MaxSize),
            Distances = SharedMemory.Allocate<float>(TileRows * Codewords),
            Weights = SharedMemory.Allocate<float>(TileRows * Codewords),
            Slopes = SharedMemory.Allocate<float>(TileRows * Codewords),
            Codes = SharedMemory.Allocate<int>(TileRows),
        };
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        int chunk = Grid.IdxX % p.Chunks;
        tile.SubVector = Grid.IdxX / p.Chunks;
        int left = p.HeadDim - tile.SubVector * p.SubVectorSize;
        tile.Size = left < p.SubVectorSize ? left : p.SubVectorSize;
        long begin = chunk * p.ChunkRows, end = begin + p.ChunkRows < p.RowCount ? begin + p.ChunkRows : p.RowCount;
        long sums = (long)Grid.IdxX * Codewords * p.SubVectorSize;
        for (int i = Group.IdxX; i < Codewords * p.SubVectorSize; i += Threads)
            p.Sums[sums + i] = 0f;
        float loss = 0f;
        for (long first = begin; first < end; first += TileRows)
        {
            tile.First = first;
            tile.Count = end - first < TileRows ? (int)(end - first) : TileRows;
            Load<T, TStorage>(ref p, ref tile);
            Group.Barrier();
            Measure(ref p, ref tile);
            Group.Barrier();
            Weigh(ref p, ref tile);
            Group.Barrier();
            loss += Compare(ref p, ref tile);
            Group.Barrier();
            Project(ref p, ref tile);
            Group.Barrier();
            Differentiate(ref p, ref tile);
            Group.Barrier();
            AddGradients(ref p, ref tile, sums);
            if (p.HasRowGradient != 0)
                StoreRows<T, TStorage>(ref p, ref tile);
            Group.Barrier();
        }
        float total = GroupReduce.Sum(scratch, loss);
        if (Group.IdxX == 0)
            p.Losses[Grid.IdxX] = total;
    }

    /// <summary>The second kernel; one thread for each number of the codebook, and one for the loss.</summary>
    public static void AddChunks<T>(Parameters<T> p) where T : unmanaged
    {
        int index = Grid.IdxX * Threads + Group.IdxX, perSubVector = Codewords * p.SubVectorSize;
        float sum = 0f;
        if (index < p.SubVectors * perSubVector)
        {
            int m = index / perSubVector, i = index % perSubVector;
            for (int chunk = 0; chunk < p.Chunks; chunk++)
                sum += p.Sums[((long)m * p.Chunks + chunk) * perSubVector + i];
            p.GradCodebook.Data[p.GradCodebook.Offset(m, i / p.SubVectorSize, 0) + i % p.SubVectorSize] = sum;
        }
        else if (index == p.SubVectors * perSubVector)
        {
            for (int i = 0; i < p.SubVectors * p.Chunks; i++)
                sum += p.Losses[i];
            p.Loss[0] = sum;
        }
    }

    // Rows past the last are zeros.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<T, TStorage>(ref Parameters<T> p, ref Tile tile) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        for (int i = Group.IdxX; i < TileRows * tile.Size; i += Threads)
        {
            int row = i / tile.Size, c = i % tile.Size;
            float z = 0f;
            if (row < tile.Count)
                z = TStorage.Load(p.Rows.Data[OffsetOf(ref p, p.Rows, tile.First + row) + tile.SubVector * p.SubVectorSize + c]);
            tile.Z[row * MaxSize + c] = z;
        }
    }

    // Four distances a thread, summed in the order of the components.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Measure<T>(ref Parameters<T> p, ref Tile tile) where T : unmanaged
    {
        int row = Group.IdxX / Quarter, first = Group.IdxX % Quarter * 4;
        for (int k = first; k < first + 4; k++)
        {
            long codeword = p.Codebook.Offset(tile.SubVector, k, 0);
            float distance = 0f;
            for (int c = 0; c < tile.Size; c++)
                distance += XMath.Abs(tile.Z[row * MaxSize + c] - p.Codebook.Data[codeword + c]);
            tile.Distances[row * Codewords + k] = distance;
        }
    }

    // A row a thread: its code and its weights.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Weigh<T>(ref Parameters<T> p, ref Tile tile) where T : unmanaged
    {
        if (Group.IdxX < TileRows)
        {
            int at = Group.IdxX * Codewords, nearest = 0;
            float least = float.PositiveInfinity, total = 0f;
            for (int k = 0; k < Codewords; k++)
            {
                float distance = tile.Distances[at + k];
                nearest = distance < least ? k : nearest;
                least = distance < least ? distance : least;
                float weight = 1f / (distance < p.LeastDistance ? p.LeastDistance : distance);
                total += weight;
                tile.Weights[at + k] = weight;
            }
            for (int k = 0; k < Codewords; k++)
                tile.Weights[at + k] /= total;
            tile.Codes[Group.IdxX] = nearest;
        }
    }

    // A component a thread: both errors, their gradients, and their part of the loss.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Compare<T>(ref Parameters<T> p, ref Tile tile) where T : unmanaged
    {
        float loss = 0f;
        for (int i = Group.IdxX; i < TileRows * tile.Size; i += Threads)
        {
            int row = i / tile.Size, c = i % tile.Size;
            float soft = 0f;
            for (int k = 0; k < Codewords; k++)
                soft += tile.Weights[row * Codewords + k] * p.Codebook.Data[p.Codebook.Offset(tile.SubVector, k, 0) + c];
            float chosen = p.Codebook.Data[p.Codebook.Offset(tile.SubVector, tile.Codes[row], 0) + c];
            float factor = row < tile.Count ? p.Factor : 0f;
            float softError = soft - chosen, error = tile.Z[row * MaxSize + c] - chosen;
            loss += 0.5f * factor * (softError * softError + error * error);
            tile.R[row * MaxSize + c] = factor * softError;
            tile.Direct[row * MaxSize + c] = factor * softError + factor * error;
        }
        return loss;
    }

    // Four codewords a thread: what the soft codeword's gradient has in common with them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Project<T>(ref Parameters<T> p, ref Tile tile) where T : unmanaged
    {
        int row = Group.IdxX / Quarter, first = Group.IdxX % Quarter * 4;
        for (int k = first; k < first + 4; k++)
        {
            long codeword = p.Codebook.Offset(tile.SubVector, k, 0);
            float dot = 0f;
            for (int c = 0; c < tile.Size; c++)
                dot += tile.R[row * MaxSize + c] * p.Codebook.Data[codeword + c];
            tile.Slopes[row * Codewords + k] = dot;
        }
    }

    // A row a thread: the gradients of its distances.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Differentiate<T>(ref Parameters<T> p, ref Tile tile) where T : unmanaged
    {
        if (Group.IdxX < TileRows)
        {
            int at = Group.IdxX * Codewords;
            float along = 0f;
            for (int k = 0; k < Codewords; k++)
                along += tile.Weights[at + k] * tile.Slopes[at + k];
            for (int k = 0; k < Codewords; k++)
            {
                float distance = tile.Distances[at + k];
                float slope = tile.Weights[at + k] / distance * (along - tile.Slopes[at + k]);
                tile.Slopes[at + k] = distance < p.LeastDistance ? 0f : slope;
            }
        }
    }

    // A component of a codeword a thread, over the rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddGradients<T>(ref Parameters<T> p, ref Tile tile, long sums) where T : unmanaged
    {
        for (int i = Group.IdxX; i < Codewords * tile.Size; i += Threads)
        {
            int k = i / tile.Size, c = i % tile.Size;
            float theta = p.Codebook.Data[p.Codebook.Offset(tile.SubVector, k, 0) + c], sum = 0f;
            for (int row = 0; row < TileRows; row++)
            {
                float slope = tile.Slopes[row * Codewords + k];
                sum += tile.Weights[row * Codewords + k] * tile.R[row * MaxSize + c];
                sum -= tile.Z[row * MaxSize + c] - theta > 0f ? slope : -slope;
                sum -= tile.Codes[row] == k ? tile.Direct[row * MaxSize + c] : 0f;
            }
            p.Sums[sums + k * p.SubVectorSize + c] += sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows<T, TStorage>(ref Parameters<T> p, ref Tile tile) where T : unmanaged where TStorage : struct, IStorage<T>
    {
        for (int i = Group.IdxX; i < tile.Count * tile.Size; i += Threads)
        {
            int row = i / tile.Size, c = i % tile.Size;
            float z = tile.Z[row * MaxSize + c], sum = tile.Direct[row * MaxSize + c] - tile.R[row * MaxSize + c];
            for (int k = 0; k < Codewords; k++)
            {
                float slope = tile.Slopes[row * Codewords + k];
                sum += z - p.Codebook.Data[p.Codebook.Offset(tile.SubVector, k, 0) + c] > 0f ? slope : -slope;
            }
            p.GradRows.Data[OffsetOf(ref p, p.GradRows, tile.First + row) + tile.SubVector * p.SubVectorSize + c] = TStorage.Store(sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long OffsetOf<T>(ref Parameters<T> p, TokenTensor<T> rows, long row) where T : unmanaged
    {
        long token = row / p.NumHeads;
        return rows.Offset((int)(token / p.Tokens), (int)(token % p.Tokens), (int)(row % p.NumHeads));
    }
}
