using System.Numerics;
using KernelEngine.Kernels.Cpu.Layers;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Codes of queries and keys (<see cref="SparseEncodeProblem"/>): the distances of a sub-vector from all codewords are the lanes of
/// vectors, and grow component by component, in the order that the definition prescribes. Threads own ranges of rows. Workspace: the
/// codebook with the codewords of a component side by side, and a row for each thread. Cost: 3 · 16 · headDim operations a row.
/// </summary>
public sealed unsafe class SparseEncode<TSimd, TVector>() : CpuKernel<SparseEncodeProblem>($"sparse-encode/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int Words = SparseCodes.Codewords;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseEncodeProblem problem, int threads) =>
        sizeof(float) * (Words * (long)problem.HeadDim + threads * RowFloats(problem));

    /// <inheritdoc/>
    public override void Run(in SparseEncodeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Rows = operands[SparseEncodeProblem.Rows],
            Codes = operands[SparseEncodeProblem.Codes],
            Codebook = (float*)workspace,
            RowBuffers = (float*)workspace + Words * (long)problem.HeadDim,
        };
        RawView codebook = operands[SparseEncodeProblem.Codebook];
        for (int c = 0; c < problem.HeadDim; c++)
        {
            (int m, int component) = Math.DivRem(c, problem.SubVectorSize);
            for (int k = 0; k < Words; k++)
                body.Codebook[c * Words + k] = *(float*)codebook.Address(m, k, component);
        }
        long rows = (long)problem.BatchSize * problem.NumHeads * problem.Tokens;
        RowParallel.Run(ref body, (int)Math.Min(rows, int.MaxValue), problem.HeadDim * Words, workers);
    }

    private static long RowFloats(in SparseEncodeProblem problem) => (problem.HeadDim + 15L) / 16 * 16;

    private struct Body : IParallelBody
    {
        public SparseEncodeProblem Problem;
        public RawView Rows, Codes;
        public float* Codebook, RowBuffers;

        public readonly void Execute(int worker, int workers)
        {
            (long first, long last) = Partition.Range((long)Problem.BatchSize * Problem.NumHeads * Problem.Tokens, worker, workers);
            float* row = RowBuffers + worker * RowFloats(Problem);
            int words = SparseCodes.WordsOf(Problem.SubVectors);
            for (long at = first; at < last; at++)
            {
                (long head, long token) = Math.DivRem(at, Problem.Tokens);
                (long batch, head) = Math.DivRem(head, Problem.NumHeads);
                Rows<TSimd, TVector>.Widen(Rows.Address(batch, token, head), Rows.Type, Problem.HeadDim, row);
                int* codes = (int*)Codes.Address(batch, head, token);
                new Span<int>(codes, words).Clear();
                for (int m = 0; m < Problem.SubVectors; m++)
                {
                    int begin = m * Problem.SubVectorSize, end = Math.Min(begin + Problem.SubVectorSize, Problem.HeadDim);
                    int code = Problem.IsEuclidean ? Nearest<Counts.Two>(row, begin, end) : Nearest<Counts.One>(row, begin, end);
                    codes[m / SparseCodes.CodesPerWord] |= SparseCodes.Place(code, m);
                }
            }
        }

        // The power is 1 for sums of magnitudes and 2 for squares; products are rounded before they are added, as everywhere.
        private readonly int Nearest<TPower>(float* row, int begin, int end) where TPower : struct, ICount
        {
            float* distances = stackalloc float[Words];
            TVector infinity = TSimd.Broadcast(float.PositiveInfinity), greatest = TSimd.Broadcast(float.NegativeInfinity);
            for (int k = 0; k < Words; k += TSimd.Width)
            {
                TVector distance = TSimd.Zero;
                for (int c = begin; c < end; c++)
                {
                    TVector difference = TSimd.Subtract(TSimd.Broadcast(row[c]), TSimd.Load(Codebook + c * Words + k));
                    distance = TSimd.Add(distance, TPower.Value == 2 ? TSimd.Multiply(difference, difference) : TSimd.Abs(difference));
                }
                distance = TSimd.SelectLess(distance, infinity, distance, infinity); // a NaN is nearest to nothing
                TSimd.Store(distance, distances + k);
                greatest = TSimd.Max(greatest, TSimd.Subtract(TSimd.Zero, distance));
            }
            TVector least = TSimd.Broadcast(-TSimd.MaxAcross(greatest));
            uint equal = 0;
            for (int k = 0; k < Words; k += TSimd.Width)
                equal |= TSimd.EqualMask(TSimd.Load(distances + k), least) << k;
            return BitOperations.TrailingZeroCount(equal);
        }
    }
}
