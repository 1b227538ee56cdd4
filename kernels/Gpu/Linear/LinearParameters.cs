using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine.Kernels.Gpu.Linear;

/// <summary>The arguments of the linear kernels: <c>output = input · weightᵀ</c>.</summary>
internal struct LinearParameters<TWeight> where TWeight : unmanaged
{
    public MatrixView<float> Input;     // [rows, inputSize], or transposed
    public MatrixView<TWeight> Weight;  // [outputSize, inputSize], or transposed
    public MatrixView<float> Output;    // [rows, outputSize]
    public int Rows, OutputSize, InputSize;
    public int IsInputTransposed, IsWeightTransposed; // of the tiled kernel
}
