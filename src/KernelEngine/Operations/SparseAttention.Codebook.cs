using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.Primitives;
using KernelEngine.Kernels.Cpu.SparseAttention;

namespace KernelEngine;

public static partial class SparseAttention
{
    /// <summary>The training loss of a codebook and its gradients.</summary>
    public static Operation<SparseCodebookProblem> CodebookOperation { get; } = new(
        "sparse-codebook", "how far rows are from their codewords, and the gradients of the codebook and of the rows",
        new SparseCodebookReference<double>("sparse-codebook/reference", DeviceKinds.Reference),
        new SparseCodebookReference<float>("sparse-codebook/plain", DeviceKinds.Cpu),
        new SparseCodebook<Simd512, Vector512<float>>(),
        new SparseCodebook<Simd256, Vector256<float>>(),
        new SparseCodebook<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new SparseCodebookTiles()] : [],
        Examples =
        [
            "n=1 d=1 dc=1 rowgrad", "b=2 n=19 h=3 d=64 dc=8", "n=20 h=2 d=80 dc=8 rowgrad", "n=33 d=40 dc=12 bf16 rowgrad", "n=9 h=2 d=64 dc=8 f16",
            "n=0 d=64 dc=8",
        ],
        Benchmarks = ["n=8192 h=8 d=64 dc=8", "n=8192 h=8 d=64 dc=8 rowgrad"],
    };

    /// <summary>
    /// Writes the loss of a codebook on some rows, queries or keys, and its gradients: <see cref="SparseCodebookProblem"/> says what they are.
    /// The losses of queries and of keys are added up; the paper adds 0.01 of them to the loss of the task. The sums do not depend on timing.
    /// </summary>
    /// <param name="rows">[batchSize, tokens, numHeads, headDim], f32, f16 or bf16</param>
    /// <param name="codebook">f32 [subVectors, 16, subVectorSize], with as many sub-vectors as headDim needs</param>
    /// <param name="loss">f32 [1], written</param>
    /// <param name="gradCodebook">f32 [subVectors, 16, subVectorSize], written</param>
    /// <param name="gradRows">[batchSize, tokens, numHeads, headDim] of the rows' type, written; default to detach the rows</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit one another.</exception>
    public static void CodebookLoss(TensorView rows, TensorView codebook, TensorView loss, TensorView gradCodebook, TensorView gradRows = default)
    {
        Shapes.RequireRank(rows, 4, nameof(rows));
        Shapes.RequireRank(codebook, 3, nameof(codebook));
        var problem = new SparseCodebookProblem(
            Shapes.Size(rows, 0, nameof(rows)), Shapes.Size(rows, 1, nameof(rows)), Shapes.Size(rows, 2, nameof(rows)), Shapes.Size(rows, 3, nameof(rows)),
            Shapes.Size(codebook, 2, nameof(codebook)), gradRows.IsPresent, rows.Type);
        rows.Storage!.Device.Run(CodebookOperation, problem, [rows, codebook, loss, gradCodebook, gradRows]);
    }
}
