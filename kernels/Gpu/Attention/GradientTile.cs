using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>A thread's part of a gradient: 4 rows × 4 columns at column quads x, x + 8, x + 16 and x + 24.</summary>
internal struct GradientTile
{
    public Tile4x4 Tile0, Tile1, Tile2, Tile3;
}
