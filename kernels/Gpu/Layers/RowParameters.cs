using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Layers;

/// <summary>The arguments of the kernels that choose a token of each row.</summary>
internal struct RowParameters
{
    public MatrixView<float> Logits;   // [rows, size]
    public ArrayView<int> Indices;     // [rows]
    public ArrayView<float> Uniforms;  // [rows], at least 0 and below 1
    public int Size;
    public int IndexSteps;             // bisections that find an index: at least log2 size
    public int TopK;                   // 0 for all
    public float Temperature, TopP, LowestExponent; // the last: ln minP, −∞ for all
}
