using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.Layers;

/// <summary>
/// Rotary position embedding in place (Su et al. 2021, arXiv:2104.09864). Threads own ranges of tokens. Half-split pairs
/// turn vector by vector, <c>x·cos − y·sin</c> and <c>y·cos + x·sin</c>. For interleaved pairs a token's angles are spread
/// once for all its heads to <c>(cos, cos)</c> and <c>(−sin, sin)</c>, and a vector v of pairs becomes
/// <c>v·c + swap(v)·s</c>. Products are rounded before they are added, as the plain computation does, so that narrow storage
/// rounds to the same numbers. Narrow values are widened a head at a time.
/// Workspace a thread: 3 · rotaryDim floats (the spread angles and a widened head).
/// </summary>
public sealed unsafe class Rotary<TSimd, TVector>() : CpuKernel<RotaryProblem>($"rotary/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in RotaryProblem problem, int threads) => threads * BytesPerThread(problem);

    /// <inheritdoc/>
    public override void Run(in RotaryProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Values = operands[RotaryProblem.Values],
            Cos = operands[RotaryProblem.Cos],
            Sin = operands[RotaryProblem.Sin],
            Workspace = (byte*)workspace,
        };
        RowParallel.Run(ref body, problem.Tokens, (long)problem.Heads * problem.RotaryDim, workers);
    }

    // Whole cache lines, so that threads do not share one.
    private static long BytesPerThread(in RotaryProblem problem) => (3L * sizeof(float) * problem.RotaryDim + 63) / 64 * 64;

    private struct Body : IParallelBody
    {
        public RotaryProblem Problem;
        public RawView Values, Cos, Sin;
        public byte* Workspace;

        public readonly void Execute(int worker, int workers)
        {
            int size = Problem.RotaryDim;
            float* spreadCos = (float*)(Workspace + worker * BytesPerThread(Problem));
            float* spreadSin = spreadCos + size, widened = spreadSin + size;
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            for (long t = first; t < last; t++)
            {
                float* cos = (float*)Cos.Address(Problem.Start + t), sin = (float*)Sin.Address(Problem.Start + t);
                if (Problem.IsInterleaved)
                    RotaryRow<TSimd, TVector>.Spread(cos, sin, spreadCos, spreadSin, size / 2);
                for (int h = 0; h < Problem.Heads; h++)
                {
                    byte* head = Values.Address(t, h);
                    bool isNarrow = Values.Type != DataType.Float32;
                    if (isNarrow)
                        Rows<TSimd, TVector>.Widen(head, Values.Type, size, widened);
                    float* x = isNarrow ? widened : (float*)head;
                    if (Problem.IsInterleaved)
                        RotaryRow<TSimd, TVector>.TurnInterleaved(x, spreadCos, spreadSin, size);
                    else
                        RotaryRow<TSimd, TVector>.TurnHalfSplit(x, cos, sin, size / 2);
                    if (isNarrow)
                        Rows<TSimd, TVector>.Narrow(widened, size, head, Values.Type);
                }
            }
        }
    }
}
