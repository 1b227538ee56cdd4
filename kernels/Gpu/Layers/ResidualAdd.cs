using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>The residual connection, <c>r += x</c>. Each thread has four elements of a row.</summary>
internal static class ResidualAdd
{
    /// <summary>Elements a group.</summary>
    public const int Block = 4 * GroupReduce.Threads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixView<float> Residual, Input;  // [rows, size]
        public int Size, BlocksPerRow;
    }

    /// <summary>The kernel; one group for each block of each row.</summary>
    public static void ResidualAddElements(Parameters p)
    {
        int row = Grid.IdxX / p.BlocksPerRow, i = Grid.IdxX % p.BlocksPerRow * Block + 4 * Group.IdxX;
        long residual = row * p.Residual.RowStride + i;
        Float4 r = Quads.Load<float, Float32Storage>(p.Residual.Data, residual, p.Size - i, p.Residual.HasQuads);
        Float4 x = Quads.Load<float, Float32Storage>(p.Input.Data, row * p.Input.RowStride + i, p.Size - i, p.Input.HasQuads);
        Quads.Store<float, Float32Storage>(p.Residual.Data, residual, p.Size - i, p.Residual.HasQuads, Float4.Add(r, x));
    }
}
