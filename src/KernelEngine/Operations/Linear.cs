using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Linear;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// The projections of a transformer, matrix-matrix products for many tokens and matrix-vector products for one, and their gradients.
/// </summary>
public static class Linear
{
    /// <summary>output = input · weightᵀ.</summary>
    public static Operation<LinearProblem> ForwardOperation { get; } = new(
        "linear", "input · weightᵀ: matrix-matrix for many rows, matrix-vector for one; f32, f16 or bf16 weights",
        new LinearReference<double>("linear/reference", DeviceKinds.Reference),
        new LinearReference<float>("linear/plain", DeviceKinds.Cpu),
        // From memory, 256-bit loads stream faster than 512-bit ones on Zen 4: 29 against 21 GB/s on one thread.
        new MatrixVector<Simd256, Vector256<float>>(),
        new MatrixVector<Simd512, Vector512<float>>(),
        new MatrixVector<Simd128, Vector128<float>>(),
        new MatrixMultiply<Simd512, Vector512<float>>(),
        new MatrixMultiply<Simd256, Vector256<float>>(),
        new MatrixMultiply<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new LinearMatVec(), new LinearMma(), new LinearTiled()] : [],
        Examples =
        [
            "m=1 n=1 k=1", "m=1 n=67 k=259", "m=7 n=130 k=65", "m=97 n=193 k=130 w=bf16", "m=1 n=100 k=515 w=f16", "m=3 n=64 k=0",
            "m=35 n=70 k=67 w=f16 transposedweight", "m=70 n=35 k=67 transposedinput transposedweight",
        ],
        Benchmarks =
        [
            "m=1024 n=1024 k=1024", "m=2048 n=2048 k=2048", "m=512 n=2048 k=768 w=bf16", "m=1 n=32000 k=768", "m=1 n=32000 k=768 w=bf16",
        ],
    };

    /// <summary>The gradients of input and weight.</summary>
    public static Operation<LinearBackwardProblem> BackwardOperation { get; } = new(
        "linear-backward", "gradOutput · weight and gradOutputᵀ · input: the gradients of a linear layer; f32, f16 or bf16 weights",
        new LinearBackward(new LinearReference<double>("linear/reference", DeviceKinds.Reference)),
        new LinearBackward(new LinearReference<float>("linear/plain", DeviceKinds.Cpu)),
        new LinearBackward(new MatrixMultiply<Simd512, Vector512<float>>()),
        new LinearBackward(new MatrixMultiply<Simd256, Vector256<float>>()),
        new LinearBackward(new MatrixMultiply<Simd128, Vector128<float>>()))
    {
        GpuKernels = GpuDevices.AreIncluded ? [new LinearBackwardTiled()] : [],
        Examples = ["m=1 n=1 k=1", "m=67 n=35 k=70", "m=7 n=130 k=65 w=bf16", "m=33 n=20 k=17 w=f16", "m=0 n=3 k=5", "m=4 n=0 k=5"],
        Benchmarks = ["m=2048 n=2048 k=2048", "m=4096 n=1024 k=1024", "m=512 n=2048 k=768 w=bf16"],
    };

    /// <summary>
    /// Computes output = input · weightᵀ. Input and weight may be transposed views: either of their dimensions may be the contiguous one.
    /// </summary>
    /// <param name="input">f32 [rows, inputSize]</param>
    /// <param name="weight">[outputSize, inputSize]: a row holds the weights of one output feature</param>
    /// <param name="output">f32 [rows, outputSize], written</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void Forward(TensorView input, TensorView weight, TensorView output)
    {
        LinearProblem problem = Problem(input, weight) with
        {
            IsInputTransposed = IsTransposed(input),
            IsWeightTransposed = IsTransposed(weight),
        };
        TensorView inputRows = problem.IsInputTransposed ? input.Transpose(0, 1) : input;
        TensorView weightRows = problem.IsWeightTransposed ? weight.Transpose(0, 1) : weight;
        input.Storage!.Device.Run(ForwardOperation, problem, [inputRows, weightRows, output]);
    }

    /// <summary>
    /// Computes the gradients: gradInput = gradOutput · weight and gradWeight = gradOutputᵀ · input. One that is left out is not computed.
    /// </summary>
    /// <param name="gradOutput">f32 [rows, outputSize], the gradient of the output</param>
    /// <param name="input">f32 [rows, inputSize]</param>
    /// <param name="weight">[outputSize, inputSize]</param>
    /// <param name="gradInput">f32 [rows, inputSize], written; optional</param>
    /// <param name="gradWeight">f32 [outputSize, inputSize] whatever the weight's type, written; optional: a frozen layer has none</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void Backward(
        TensorView gradOutput, TensorView input, TensorView weight, TensorView gradInput = default, TensorView gradWeight = default)
    {
        var problem = new LinearBackwardProblem(Problem(input, weight));
        input.Storage!.Device.Run(BackwardOperation, problem, [gradOutput, input, weight, gradInput, gradWeight]);
    }

    private static LinearProblem Problem(TensorView input, TensorView weight)
    {
        Shapes.RequireRank(input, 2, nameof(input));
        Shapes.RequireRank(weight, 2, nameof(weight));
        return new(
            Shapes.Size(input, 0, nameof(input)), Shapes.Size(weight, 0, nameof(weight)), Shapes.Size(input, 1, nameof(input)), weight.Type);
    }

    private static bool IsTransposed(in TensorView matrix) =>
        !matrix.Layout.IsLastContiguous && matrix.Layout.Transpose(0, 1).IsLastContiguous;
}
