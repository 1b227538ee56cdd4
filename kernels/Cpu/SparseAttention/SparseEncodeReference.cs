using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The codes by their definition (<see cref="SparseEncodeProblem"/>): every sub-vector with every codeword. Its distances are the
/// float32 sums that the definition names: it is its own plain computation.
/// </summary>
public sealed unsafe class SparseEncodeReference(string name, DeviceKinds device) : CpuKernel<SparseEncodeProblem>(name, device)
{
    /// <inheritdoc/>
    public override void Run(in SparseEncodeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        for (int b = 0; b < problem.BatchSize; b++)
        {
            for (int h = 0; h < problem.NumHeads; h++)
            {
                for (int t = 0; t < problem.Tokens; t++)
                {
                    byte* row = operands[SparseEncodeProblem.Rows].Address(b, t, h);
                    int* codes = (int*)operands[SparseEncodeProblem.Codes].Address(b, h, t);
                    new Span<int>(codes, SparseCodes.WordsOf(problem.SubVectors)).Clear();
                    for (int m = 0; m < problem.SubVectors; m++)
                        codes[m / SparseCodes.CodesPerWord] |= SparseCodes.Place(Nearest(problem, operands[SparseEncodeProblem.Codebook], row, m), m);
                }
            }
        }
    }

    /// <summary>The code of one sub-vector of a row.</summary>
    internal static int Nearest(in SparseEncodeProblem problem, in RawView codebook, byte* row, int subVector)
    {
        int first = subVector * problem.SubVectorSize, nearest = 0;
        float least = float.PositiveInfinity;
        for (int k = 0; k < SparseCodes.Codewords; k++)
        {
            float* codeword = (float*)codebook.Address(subVector, k);
            float distance = 0f;
            for (int c = 0; c < problem.SubVectorSize && first + c < problem.HeadDim; c++)
            {
                float difference = Element.Read<float>(row, first + c, problem.Type) - codeword[c];
                distance += problem.IsEuclidean ? difference * difference : MathF.Abs(difference);
            }
            if (distance < least)
                (least, nearest) = (distance, k);
        }
        return nearest;
    }
}
