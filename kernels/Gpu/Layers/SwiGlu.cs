using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// The gate of a SwiGLU feed-forward layer (Shazeer 2020, arXiv:2002.05202): <c>y = g / (1 + exp(−g)) · u</c>. Each thread has
/// four elements of a row.
/// </summary>
internal static class SwiGlu
{
    /// <summary>Elements a group.</summary>
    public const int Block = 4 * GroupReduce.Threads;

    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixView<float> Gate, Up, Output;  // [rows, size]
        public int Size, BlocksPerRow;
    }

    /// <summary>The kernel; one group for each block of each row.</summary>
    public static void SwiGluElements(Parameters p)
    {
        int row = Grid.IdxX / p.BlocksPerRow, i = Grid.IdxX % p.BlocksPerRow * Block + 4 * Group.IdxX;
        Float4 g = Quads.Load<float, Float32Storage>(p.Gate.Data, row * p.Gate.RowStride + i, p.Size - i, p.Gate.HasQuads);
        Float4 u = Quads.Load<float, Float32Storage>(p.Up.Data, row * p.Up.RowStride + i, p.Size - i, p.Up.HasQuads);
        var y = new Float4(Silu(g.X) * u.X, Silu(g.Y) * u.Y, Silu(g.Z) * u.Z, Silu(g.W) * u.W);
        Quads.Store<float, Float32Storage>(p.Output.Data, row * p.Output.RowStride + i, p.Size - i, p.Output.HasQuads, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Silu(float x) => x / (1f + XMath.Exp(-x));
}
