using ILGPU;
using ILGPU.Algorithms;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>
/// Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467): <c>y_i = w_i · x_i / √(Σ_j x_j² / n + ε)</c>.
/// One group of 128 threads has one row and reads it twice, the second time from cache.
/// </summary>
internal static class RmsNorm
{
    /// <summary>The arguments.</summary>
    internal struct Parameters
    {
        public MatrixView<float> Input;   // [rows, size]
        public MatrixView<float> Output;  // [rows, size]
        public ArrayView<float> Weight;   // [size]
        public int Size, WeightHasQuads;
        public float Epsilon;
    }

    /// <summary>The kernel; one group a row.</summary>
    public static void RmsNormRows(Parameters p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupReduce.ScratchSize);
        long input = Grid.IdxX * p.Input.RowStride, output = Grid.IdxX * p.Output.RowStride;
        float squares = 0f;
        for (int i = 4 * Group.IdxX; i < p.Size; i += 4 * GroupReduce.Threads)
        {
            Float4 x = Quads.Load<float, Float32Storage>(p.Input.Data, input + i, p.Size - i, p.Input.HasQuads);
            squares += Float4.Dot(x, x);
        }
        squares = GroupReduce.Sum(scratch, squares);
        float scale = 1f / XMath.Sqrt(squares / p.Size + p.Epsilon);
        for (int i = 4 * Group.IdxX; i < p.Size; i += 4 * GroupReduce.Threads)
        {
            Float4 x = Quads.Load<float, Float32Storage>(p.Input.Data, input + i, p.Size - i, p.Input.HasQuads);
            Float4 w = Quads.Load<float, Float32Storage>(p.Weight, i, p.Size - i, p.WeightHasQuads);
            Quads.Store<float, Float32Storage>(
                p.Output.Data, output + i, p.Size - i, p.Output.HasQuads, Float4.Multiply(w, Float4.Scale(x, scale)));
        }
    }
}
