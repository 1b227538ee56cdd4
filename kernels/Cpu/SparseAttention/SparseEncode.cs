using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// Codes of queries and keys (<see cref="SparseEncodeProblem"/>): as many tokens of a head as a vector has lanes are transposed, so that
/// each lane has a token, and distances grow component by component, in the order that the definition prescribes. Threads own ranges of
/// such blocks. Workspace: two blocks of rows for each thread. Cost: 3 vector operations for each component, codeword and block.
/// </summary>
public sealed unsafe class SparseEncode<TSimd, TVector>() : CpuKernel<SparseEncodeProblem>($"sparse-encode/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseEncodeProblem problem, int threads) => 2L * sizeof(float) * threads * TSimd.Width * problem.HeadDim;

    /// <inheritdoc/>
    public override void Run(in SparseEncodeProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Rows = operands[SparseEncodeProblem.Rows],
            Codebook = operands[SparseEncodeProblem.Codebook],
            Codes = operands[SparseEncodeProblem.Codes],
            Workspace = (float*)workspace,
        };
        // A row of a decoding step is not worth waking a thread for.
        if ((long)problem.BatchSize * problem.NumHeads * problem.Tokens > 2 * TSimd.Width)
            workers.Run(ref body);
        else
            body.Execute(0, 1);
    }

    private struct Body : IParallelBody
    {
        public SparseEncodeProblem Problem;
        public RawView Rows, Codebook, Codes;
        public float* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            long blocks = (Problem.Tokens + TSimd.Width - 1L) / TSimd.Width;
            (long first, long last) = Partition.Range(Problem.BatchSize * Problem.NumHeads * blocks, worker, workers);
            float* rows = Workspace + 2L * worker * TSimd.Width * Problem.HeadDim, columns = rows + TSimd.Width * Problem.HeadDim;
            for (long at = first; at < last; at++)
            {
                (long block, long head) = Math.DivRem(at, Problem.NumHeads); // in the order of memory
                (long batch, block) = Math.DivRem(block, blocks);
                long token = block * TSimd.Width;
                int count = (int)Math.Min(TSimd.Width, Problem.Tokens - token);
                if (Problem.Type == DataType.Float32)
                {
                    Rows<TSimd, TVector>.Transpose(
                        (float*)Rows.Address(batch, token, head), Rows.Layout.Stride(1), count, Problem.HeadDim, columns, TSimd.Width);
                }
                else
                {
                    for (int i = 0; i < count; i++)
                        Rows<TSimd, TVector>.Widen(Rows.Address(batch, token + i, head), Problem.Type, Problem.HeadDim, rows + i * Problem.HeadDim);
                    Rows<TSimd, TVector>.Transpose(rows, Problem.HeadDim, count, Problem.HeadDim, columns, TSimd.Width);
                }
                Encode(columns, batch, head, token, count);
            }
        }

        private readonly void Encode(float* columns, long batch, long head, long token, int count)
        {
            const int HalfCodes = SparseCodes.CodesPerWord / 2;
            float* halves = stackalloc float[2 * TSimd.Width];
            for (int first = 0; first < Problem.SubVectors; first += SparseCodes.CodesPerWord)
            {
                // A float holds four codes exactly.
                for (int half = 0; half < 2; half++)
                {
                    TVector codes = TSimd.Zero;
                    for (int m = Math.Min(first + (half + 1) * HalfCodes, Problem.SubVectors) - 1; m >= first + half * HalfCodes; m--)
                    {
                        float* z = columns + m * Problem.SubVectorSize * TSimd.Width;
                        TVector nearest = Problem.IsEuclidean ? Nearest<Counts.Two>(m, z) : Nearest<Counts.One>(m, z);
                        codes = TSimd.MultiplyAdd(codes, TSimd.Broadcast(SparseCodes.Codewords), nearest);
                    }
                    TSimd.Store(codes, halves + half * TSimd.Width);
                }
                for (int i = 0; i < count; i++)
                {
                    ((int*)Codes.Address(batch, head, token + i))[first / SparseCodes.CodesPerWord] =
                        (int)halves[i] | (int)halves[TSimd.Width + i] << (SparseCodes.CodesPerWord * SparseCodes.CodeBits / 2);
                }
            }
        }

        // The number of the nearest codeword in each lane. Four sums grow side by side; their power is 1 for magnitudes and 2 for
        // squares, which are rounded before they are added, as everywhere.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private readonly TVector Nearest<TPower>(int m, float* z) where TPower : struct, ICount
        {
            int size = Math.Min(Problem.SubVectorSize, Problem.HeadDim - m * Problem.SubVectorSize);
            TVector nearest = TSimd.Zero, least = TSimd.Broadcast(float.PositiveInfinity);
            float* w0 = (float*)Codebook.Address(m);
            long stride = Codebook.Layout.Stride(1);
            for (int k = 0; k < SparseCodes.Codewords; k += 4, w0 += 4 * stride)
            {
                float* w1 = w0 + stride, w2 = w1 + stride, w3 = w2 + stride;
                TVector d0 = TSimd.Zero, d1 = TSimd.Zero, d2 = TSimd.Zero, d3 = TSimd.Zero;
                for (int c = 0; c < size; c++)
                {
                    TVector x = TSimd.Load(z + c * TSimd.Width);
                    d0 = TSimd.Add(d0, Power<TPower>(TSimd.Subtract(x, TSimd.Broadcast(w0[c]))));
                    d1 = TSimd.Add(d1, Power<TPower>(TSimd.Subtract(x, TSimd.Broadcast(w1[c]))));
                    d2 = TSimd.Add(d2, Power<TPower>(TSimd.Subtract(x, TSimd.Broadcast(w2[c]))));
                    d3 = TSimd.Add(d3, Power<TPower>(TSimd.Subtract(x, TSimd.Broadcast(w3[c]))));
                }
                // Written out: vectors passed by reference would live on the stack.
                nearest = TSimd.SelectLess(d0, least, TSimd.Broadcast(k), nearest);
                least = TSimd.SelectLess(d0, least, d0, least);
                nearest = TSimd.SelectLess(d1, least, TSimd.Broadcast(k + 1), nearest);
                least = TSimd.SelectLess(d1, least, d1, least);
                nearest = TSimd.SelectLess(d2, least, TSimd.Broadcast(k + 2), nearest);
                least = TSimd.SelectLess(d2, least, d2, least);
                nearest = TSimd.SelectLess(d3, least, TSimd.Broadcast(k + 3), nearest);
                least = TSimd.SelectLess(d3, least, d3, least);
            }
            return nearest;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Power<TPower>(TVector difference) where TPower : struct, ICount =>
            TPower.Value == 2 ? TSimd.Multiply(difference, difference) : TSimd.Abs(difference);
    }
}
