using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>Product quantisation of queries and keys.</summary>
    public static Operation<SparseEncodeProblem> EncodeOperation { get; } = new(
        "sparse-encode", "product quantisation of queries and keys: the nearest of 16 codewords for each sub-vector",
        new SparseEncodeReference("sparse-encode/reference", DeviceKinds.Reference),
        new SparseEncodeReference("sparse-encode/plain", DeviceKinds.Cpu),
        new SparseEncode<Simd512, Vector512<float>>(),
        new SparseEncode<Simd256, Vector256<float>>(),
        new SparseEncode<Simd128, Vector128<float>>())
    {
        GpuKernels = [],
        Examples =
        [
            "n=1 d=1 dc=1", "b=2 n=37 h=3 d=64 dc=8", "n=20 h=2 d=80 dc=8 l2", "n=33 d=40 dc=12 bf16", "n=9 h=2 d=256 dc=8 f16", "n=0 d=64 dc=8",
        ],
        Benchmarks = ["n=8192 h=8 d=64 dc=8", "n=8192 h=8 d=128 dc=8 bf16"],
    };

    /// <summary>
    /// Writes for each sub-vector of each row the number of the nearest codeword: <see cref="SparseEncodeProblem"/> says what that is.
    /// Queries and keys are encoded with one codebook, and both after rotary embeddings.
    /// </summary>
    /// <param name="rows">[batchSize, tokens, numHeads, headDim], f32, f16 or bf16</param>
    /// <param name="codebook">f32 [subVectors, 16, subVectorSize], with as many sub-vectors as headDim needs</param>
    /// <param name="codes">i32 [batchSize, numHeads, tokens, words], written: eight codes a word</param>
    /// <param name="isEuclidean">Distances are Euclidean; otherwise sums of magnitudes.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void Encode(TensorView rows, TensorView codebook, TensorView codes, bool isEuclidean = false)
    {
        Shapes.RequireRank(rows, 4, nameof(rows));
        Shapes.RequireRank(codebook, 3, nameof(codebook));
        var problem = new SparseEncodeProblem(
            Shapes.Size(rows, 0, nameof(rows)), Shapes.Size(rows, 1, nameof(rows)), Shapes.Size(rows, 2, nameof(rows)), Shapes.Size(rows, 3, nameof(rows)),
            Shapes.Size(codebook, 2, nameof(codebook)), isEuclidean, rows.Type);
        rows.Storage!.Device.Run(EncodeOperation, problem, [rows, codebook, codes]);
    }
}
