using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.SparseAttention;

/// <summary>
/// The loss of a codebook and its gradients (<see cref="SparseCodebookProblem"/>) in one pass over the rows. As many rows as a vector has
/// lanes are transposed and taken together; each lane adds up its own gradient of the codebook, and lanes and threads are added in a
/// fixed order at the end. Workspace per thread: 16 · headDim vectors for the gradient and three times the rows of a block.
/// Cost: about 12 vector operations for each codeword, component and block.
/// </summary>
public sealed unsafe class SparseCodebook<TSimd, TVector>() : CpuKernel<SparseCodebookProblem>($"sparse-codebook/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int Codewords = SparseCodes.Codewords;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in SparseCodebookProblem problem, int threads) => sizeof(float) * threads * ThreadFloats(problem);

    /// <inheritdoc/>
    public override void Run(in SparseCodebookProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Rows = operands[SparseCodebookProblem.Rows],
            Codebook = operands[SparseCodebookProblem.Codebook],
            GradRows = operands[SparseCodebookProblem.GradRows],
            Workspace = (float*)workspace,
            Factor = 2f / Math.Max(1, problem.RowCount * problem.HeadDim),
        };
        workers.Run(ref body);
        *(float*)operands[SparseCodebookProblem.Loss].Data = body.SumLanes(0, workers.Count);
        for (int m = 0; m < problem.SubVectors; m++)
        {
            int size = problem.HeadDim - m * problem.SubVectorSize;
            for (int k = 0; k < Codewords; k++)
            {
                float* target = (float*)operands[SparseCodebookProblem.GradCodebook].Address(m, k);
                for (int c = 0; c < problem.SubVectorSize; c++)
                    target[c] = c < size ? body.SumLanes(1 + GradientOf(problem, m, k, c), workers.Count) : 0f;
            }
        }
    }

    // The loss and the gradients in vectors, then two blocks of rows and their gradient.
    private static long ThreadFloats(in SparseCodebookProblem problem) => TSimd.Width * (1 + problem.HeadDim * (Codewords + 3L));

    // Components of a sub-vector are neighbours, of codewords that follow one another; the last sub-vector has fewer.
    private static int GradientOf(in SparseCodebookProblem problem, int m, int k, int c)
    {
        int first = m * problem.SubVectorSize;
        return first * Codewords + k * Math.Min(problem.SubVectorSize, problem.HeadDim - first) + c;
    }

    private struct Body : IParallelBody
    {
        public SparseCodebookProblem Problem;
        public RawView Rows, Codebook, GradRows;
        public float* Workspace;
        public float Factor; // 2 / elements

        public readonly void Execute(int worker, int workers)
        {
            float* sums = Workspace + worker * ThreadFloats(Problem);
            float* rows = sums + TSimd.Width * (1L + Problem.HeadDim * Codewords), columns = rows + TSimd.Width * (long)Problem.HeadDim;
            float* gradients = columns + TSimd.Width * (long)Problem.HeadDim;
            Unsafe.InitBlockUnaligned(sums, 0, checked((uint)(TSimd.Width * (1 + Problem.HeadDim * Codewords) * sizeof(float))));
            float* lanes = stackalloc float[TSimd.Width];
            (long first, long last) = Partition.Range(Problem.RowCount, worker, workers);
            for (long begin = first; begin < last; begin += TSimd.Width)
            {
                int count = (int)Math.Min(TSimd.Width, last - begin);
                for (int i = 0; i < TSimd.Width; i++)
                    lanes[i] = i < count ? Factor : 0f; // what stands past the last row adds nothing
                for (int i = 0; i < count; i++)
                    Rows<TSimd, TVector>.Widen(AddressOf(Rows, begin + i), Problem.Type, Problem.HeadDim, rows + (long)i * Problem.HeadDim);
                Rows<TSimd, TVector>.Transpose(rows, Problem.HeadDim, count, Problem.HeadDim, columns, TSimd.Width);
                for (int m = 0; m < Problem.SubVectors; m++)
                {
                    int component = m * Problem.SubVectorSize;
                    Add(m, TSimd.Load(lanes), columns + component * TSimd.Width, sums, gradients + component * TSimd.Width);
                }
                for (int i = 0; i < count && Problem.HasRowGradient; i++)
                {
                    for (int c = 0; c < Problem.HeadDim; c++)
                        rows[c] = gradients[c * TSimd.Width + i];
                    Rows<TSimd, TVector>.Narrow(rows, Problem.HeadDim, AddressOf(GradRows, begin + i), Problem.Type);
                }
            }
        }

        /// <summary>The sum over lanes and threads of a vector of the sums.</summary>
        public readonly float SumLanes(long vector, int workers)
        {
            float sum = 0f;
            for (int worker = 0; worker < workers; worker++)
                sum += TSimd.Sum(TSimd.Load(Workspace + worker * ThreadFloats(Problem) + vector * TSimd.Width));
            return sum;
        }

        // One sub-vector of the rows of a block: z and gradZ are its components, a vector each.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private readonly void Add(int m, TVector factor, float* z, float* sums, float* gradZ)
        {
            int width = TSimd.Width, size = Math.Min(Problem.SubVectorSize, Problem.HeadDim - m * Problem.SubVectorSize);
            float* distances = stackalloc float[Codewords * width], weights = stackalloc float[Codewords * width];
            float* r = stackalloc float[SparseCodes.MaxSubVectorSize * width];
            TVector least = TSimd.Broadcast(SparseCodebookProblem.LeastDistance), one = TSimd.Broadcast(1f);
            TVector nearest = TSimd.Zero, smallest = TSimd.Broadcast(float.PositiveInfinity), total = TSimd.Zero;
            for (int k = 0; k < Codewords; k++)
            {
                float* codeword = (float*)Codebook.Address(m, k);
                TVector distance = TSimd.Zero;
                for (int c = 0; c < size; c++)
                    distance = TSimd.Add(distance, TSimd.Abs(TSimd.Subtract(TSimd.Load(z + c * width), TSimd.Broadcast(codeword[c]))));
                nearest = TSimd.SelectLess(distance, smallest, TSimd.Broadcast(k), nearest);
                smallest = TSimd.SelectLess(distance, smallest, distance, smallest);
                TVector inverse = TSimd.Divide(one, TSimd.Max(distance, least));
                total = TSimd.Add(total, inverse);
                TSimd.Store(distance, distances + k * width);
                TSimd.Store(inverse, weights + k * width);
            }
            TVector scale = TSimd.Divide(one, total), loss = TSimd.Zero, along = TSimd.Zero, half = TSimd.Broadcast(0.5f);
            for (int c = 0; c < size; c++)
            {
                TVector soft = TSimd.Zero, chosen = TSimd.Zero;
                for (int k = 0; k < Codewords; k++)
                {
                    TVector theta = TSimd.Broadcast(((float*)Codebook.Address(m, k))[c]);
                    soft = TSimd.MultiplyAdd(TSimd.Load(weights + k * width), theta, soft);
                    chosen = Where(nearest, k, theta, chosen);
                }
                soft = TSimd.Multiply(soft, scale);
                TVector softError = TSimd.Subtract(soft, chosen), error = TSimd.Subtract(TSimd.Load(z + c * width), chosen);
                TVector softGradient = TSimd.Multiply(softError, factor), gradient = TSimd.Multiply(error, factor);
                loss = TSimd.MultiplyAdd(softGradient, softError, TSimd.MultiplyAdd(gradient, error, loss));
                along = TSimd.MultiplyAdd(softGradient, soft, along);
                TSimd.Store(softGradient, r + c * width);
                TSimd.Store(gradient, gradZ + c * width);
            }
            TSimd.Store(TSimd.MultiplyAdd(loss, half, TSimd.Load(sums)), sums);
            AddGradients(m, size, z, sums, gradZ, distances, weights, r, nearest, scale, along);
        }

        // The gradients through the weights of each codeword, and through the one that is nearest.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private readonly void AddGradients(
            int m, int size, float* z, float* sums, float* gradZ, float* distances, float* weights, float* r, TVector nearest, TVector scale,
            TVector along)
        {
            int width = TSimd.Width;
            float* direct = stackalloc float[SparseCodes.MaxSubVectorSize * width]; // r + e, before the slopes are added to the latter
            for (int c = 0; c < size; c++)
                TSimd.Store(TSimd.Add(TSimd.Load(r + c * width), TSimd.Load(gradZ + c * width)), direct + c * width);
            TVector least = TSimd.Broadcast(SparseCodebookProblem.LeastDistance);
            for (int k = 0; k < Codewords; k++)
            {
                float* codeword = (float*)Codebook.Address(m, k);
                float* target = sums + (1L + GradientOf(Problem, m, k, 0)) * width;
                TVector dot = TSimd.Zero;
                for (int c = 0; c < size; c++)
                    dot = TSimd.MultiplyAdd(TSimd.Load(r + c * width), TSimd.Broadcast(codeword[c]), dot);
                TVector inverse = TSimd.Load(weights + k * width), weight = TSimd.Multiply(inverse, scale);
                TVector up = TSimd.Multiply(TSimd.Multiply(weight, inverse), TSimd.Subtract(along, dot));
                up = TSimd.SelectLess(TSimd.Load(distances + k * width), least, TSimd.Zero, up);
                TVector down = TSimd.Subtract(TSimd.Zero, up);
                for (int c = 0; c < size; c++)
                {
                    TVector difference = TSimd.Subtract(TSimd.Load(z + c * width), TSimd.Broadcast(codeword[c]));
                    TVector slope = TSimd.SelectLess(TSimd.Zero, difference, up, down);
                    TVector gradient = TSimd.Subtract(TSimd.Multiply(weight, TSimd.Load(r + c * width)), slope);
                    gradient = TSimd.Subtract(gradient, Where(nearest, k, TSimd.Load(direct + c * width), TSimd.Zero));
                    TSimd.Store(TSimd.Add(TSimd.Load(target + c * width), gradient), target + c * width);
                    TSimd.Store(TSimd.Add(TSimd.Load(gradZ + c * width), slope), gradZ + c * width);
                }
            }
        }

        // Codes are whole numbers from 0: those less than half away are the same.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Where(TVector codes, int code, TVector ifEqual, TVector otherwise) =>
            TSimd.SelectLess(TSimd.Abs(TSimd.Subtract(codes, TSimd.Broadcast(code))), TSimd.Broadcast(0.5f), ifEqual, otherwise);

        private readonly byte* AddressOf(in RawView rows, long row)
        {
            (long token, long head) = Math.DivRem(row, Problem.NumHeads);
            (long batch, token) = Math.DivRem(token, Problem.Tokens);
            return rows.Address(batch, token, head);
        }
    }
}
