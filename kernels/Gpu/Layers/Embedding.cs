using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// Rows of a table by token id, widened to f32. Each thread has four elements of a row; an id outside the table reads the
/// nearest row.
/// </summary>
internal static class Embedding
{
    /// <summary>Elements a group.</summary>
    public const int Block = 4 * GroupReduce.Threads;

    /// <summary>The arguments.</summary>
    internal struct Parameters<TTable> where TTable : unmanaged
    {
        public ArrayView<int> Tokens;      // [tokens]
        public MatrixView<TTable> Table;   // [vocabSize, size]
        public MatrixView<float> Output;   // [tokens, size]
        public int VocabSize, Size, BlocksPerRow;
    }

    /// <summary>The kernel; one group for each block of each token's row.</summary>
    public static void EmbeddingRows<TTable, TTableStorage>(Parameters<TTable> p)
        where TTable : unmanaged where TTableStorage : struct, IStorage<TTable>
    {
        int row = Grid.IdxX / p.BlocksPerRow, i = Grid.IdxX % p.BlocksPerRow * Block + 4 * Group.IdxX;
        int id = p.Tokens[row];
        id = id < p.VocabSize ? id : p.VocabSize - 1;
        id = id > 0 ? id : 0;
        Float4 value = Quads.Load<TTable, TTableStorage>(p.Table.Data, id * p.Table.RowStride + i, p.Size - i, p.Table.HasQuads);
        Quads.Store<float, Float32Storage>(p.Output.Data, row * p.Output.RowStride + i, p.Size - i, p.Output.HasQuads, value);
    }
}
