using System.Numerics;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The loss of a codebook and its gradients by their definition (<see cref="SparseCodebookProblem"/>). Codes come from the float32
/// distances that sparse-encode compares; all else is <typeparamref name="T"/>: double for the reference, float for the plain
/// computation. Workspace: the codebook's gradient.
/// </summary>
public sealed unsafe class SparseCodebookReference<T>(string name, DeviceKinds device) : CpuKernel<SparseCodebookProblem>(name, device)
    where T : unmanaged, IFloatingPointIeee754<T>
{
    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseCodebookProblem problem, int threads) =>
        (long)sizeof(T) * problem.SubVectors * SparseCodes.Codewords * problem.SubVectorSize;

    /// <inheritdoc/>
    public override void Run(in SparseCodebookProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        T* gradients = (T*)workspace;
        new Span<T>(gradients, problem.SubVectors * SparseCodes.Codewords * problem.SubVectorSize).Clear();
        T loss = T.Zero;
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int t = 0; t < problem.Tokens; t++)
            {
                for (int h = 0; h < problem.NumHeads; h++)
                {
                    byte* row = operands[SparseCodebookProblem.Rows].Address(b, t, h);
                    byte* gradRow = problem.HasRowGradient ? operands[SparseCodebookProblem.GradRows].Address(b, t, h) : null;
                    for (int m = 0; m < problem.SubVectors; m++)
                    {
                        loss += AddSubVector(
                            problem, operands[SparseCodebookProblem.Codebook], row, m, gradients + m * SparseCodes.Codewords * problem.SubVectorSize, gradRow);
                    }
                }
            }
        }
        *(float*)operands[SparseCodebookProblem.Loss].Data = float.CreateChecked(loss);
        for (int m = 0; m < problem.SubVectors; m++)
        {
            for (int k = 0; k < SparseCodes.Codewords; k++)
            {
                float* target = (float*)operands[SparseCodebookProblem.GradCodebook].Address(m, k);
                for (int c = 0; c < problem.SubVectorSize; c++)
                    target[c] = float.CreateChecked(gradients[(m * SparseCodes.Codewords + k) * problem.SubVectorSize + c]);
            }
        }
    }

    // One sub-vector's part of the loss; its parts of the gradients are added to the codewords' and written to the row's.
    private static T AddSubVector(in SparseCodebookProblem problem, in RawView codebook, byte* row, int m, T* gradients, byte* gradRow)
    {
        int first = m * problem.SubVectorSize, size = Math.Min(problem.SubVectorSize, problem.HeadDim - first);
        int nearest = SparseEncodeReference.Nearest(problem.Encode, codebook, row, m);
        T two = T.One + T.One, elements = T.CreateChecked(problem.RowCount * problem.HeadDim);
        T* z = stackalloc T[SparseCodes.MaxSubVectorSize], soft = stackalloc T[SparseCodes.MaxSubVectorSize], gradZ = stackalloc T[SparseCodes.MaxSubVectorSize];
        T* distances = stackalloc T[SparseCodes.Codewords], weights = stackalloc T[SparseCodes.Codewords];
        for (int c = 0; c < size; c++)
            (z[c], soft[c]) = (Element.Read<T>(row, first + c, problem.Type), T.Zero);
        T least = T.CreateChecked(SparseCodebookProblem.LeastDistance), total = T.Zero;
        for (int k = 0; k < SparseCodes.Codewords; k++)
        {
            distances[k] = T.Zero;
            for (int c = 0; c < size; c++)
                distances[k] += T.Abs(z[c] - Component(codebook, m, k, c));
            total += T.One / T.Max(distances[k], least);
        }
        for (int k = 0; k < SparseCodes.Codewords; k++)
        {
            weights[k] = T.One / T.Max(distances[k], least) / total;
            for (int c = 0; c < size; c++)
                soft[c] += weights[k] * Component(codebook, m, k, c);
        }
        T loss = T.Zero, along = T.Zero; // along = ∂loss/∂s · s
        for (int c = 0; c < size; c++)
        {
            T chosen = Component(codebook, m, nearest, c), r = two * (soft[c] - chosen) / elements, e = two * (z[c] - chosen) / elements;
            loss += ((soft[c] - chosen) * (soft[c] - chosen) + (z[c] - chosen) * (z[c] - chosen)) / elements;
            along += r * soft[c];
            gradZ[c] = e;
            gradients[nearest * problem.SubVectorSize + c] -= r + e;
        }
        for (int k = 0; k < SparseCodes.Codewords; k++)
        {
            T dot = T.Zero;
            for (int c = 0; c < size; c++)
                dot += two * (soft[c] - Component(codebook, m, nearest, c)) / elements * Component(codebook, m, k, c);
            T gradDistance = distances[k] < least ? T.Zero : weights[k] / distances[k] * (along - dot);
            for (int c = 0; c < size; c++)
            {
                T r = two * (soft[c] - Component(codebook, m, nearest, c)) / elements;
                T slope = z[c] - Component(codebook, m, k, c) > T.Zero ? gradDistance : -gradDistance;
                gradients[k * problem.SubVectorSize + c] += weights[k] * r - slope;
                gradZ[c] += slope;
            }
        }
        for (int c = 0; c < size && gradRow != null; c++)
            Element.Write(gradRow, first + c, problem.Type, gradZ[c]);
        return loss;
    }

    private static T Component(in RawView codebook, int m, int k, int c) => T.CreateChecked(((float*)codebook.Address(m, k))[c]);
}
