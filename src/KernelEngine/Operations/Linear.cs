using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Linear;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>The projections of a transformer: matrix-matrix products for many tokens, matrix-vector products for one.</summary>
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
        Examples = ["m=1 n=1 k=1", "m=1 n=67 k=259", "m=7 n=130 k=65", "m=97 n=193 k=130 w=bf16", "m=1 n=100 k=515 w=f16", "m=3 n=64 k=0"],
        Benchmarks = ["m=1024 n=1024 k=1024", "m=2048 n=2048 k=2048", "m=512 n=2048 k=768 w=bf16", "m=1 n=32000 k=768", "m=1 n=32000 k=768 w=bf16"],
    };

    /// <summary>Computes output = input · weightᵀ.</summary>
    /// <param name="input">f32 [rows, inputSize]</param>
    /// <param name="weight">[outputSize, inputSize]: a row holds the weights of one output feature</param>
    /// <param name="output">f32 [rows, outputSize], written</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void Forward(TensorView input, TensorView weight, TensorView output)
    {
        Shapes.RequireRank(input, 2, nameof(input));
        Shapes.RequireRank(weight, 2, nameof(weight));
        var problem = new LinearProblem(
            Shapes.Size(input, 0, nameof(input)), Shapes.Size(weight, 0, nameof(weight)), Shapes.Size(input, 1, nameof(input)), weight.Type);
        input.Storage!.Device.Run(ForwardOperation, problem, [input, weight, output]);
    }
}
