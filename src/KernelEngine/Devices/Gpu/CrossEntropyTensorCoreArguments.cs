using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>What the kernels of cross-entropy on tensor cores have in common.</summary>
internal static class CrossEntropyTensorCoreArguments
{
    private const int BoxColumns = 64;

    /// <summary>Null where the kernels compute the problem's logits, else a sentence that says why not.</summary>
    public static string? WhyUnsupported(in CrossEntropyProblem problem) =>
        problem.Type == DataType.Float32 ? "multiplies 16-bit matrices"
        : problem.HasBias || problem.LogitSoftCap != 0 ? "computes logits without bias and cap"
        : problem.Loss.LabelSmoothing != 0 || problem.Loss.HasClassWeights ? "computes losses without smoothing and class weights"
        : problem.Loss.Shift != 0 ? "takes labels that stand beside their rows"
        : !(problem.Temperature > 0) ? "needs a positive temperature"
        : problem.HiddenSize % 8 != 0 ? "takes rows of a multiple of 8 elements"
        : problem.HiddenSize == 0 || problem.Loss.Positions == 0 || problem.VocabSize == 0 ? "needs rows and classes"
        : null;

    /// <summary>Whether 16 bytes at a time, and the copy engine, can move a matrix's rows: they begin on 16 bytes.</summary>
    public static bool CanCopy(GpuView matrix) =>
        matrix.HasRowsOf(8) && (matrix.Layout[0] <= 1 || matrix.Layout.Stride(0) is >= 1 and < 1L << 39);

    /// <summary>The map of a matrix, for boxes of so many rows.</summary>
    public static TensorMap Map(GpuDevice device, GpuView matrix, int rows) => Map(
        device, matrix.Address, matrix.Type, matrix.Layout[1], matrix.Layout[0],
        matrix.Layout[0] > 1 ? matrix.Layout.Stride(0) : matrix.Layout[1], rows);

    /// <summary>The map of a matrix in scratch memory.</summary>
    public static TensorMap Map(GpuDevice device, long address, DataType type, long columns, long height, long stride, int rows) =>
        device.EncodeTensorMap(address, type, [(ulong)columns, (ulong)height], [2 * (ulong)stride], [BoxColumns, (uint)rows]);
}
