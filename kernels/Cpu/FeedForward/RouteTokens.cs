using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The router (<see cref="FeedForwardRouteProblem"/>). Threads own ranges of tokens; a token's row is widened once and multiplied by every
/// block's weights. Counts and shares of gates are summed for each of 64 ranges of tokens, whatever the threads, then one after another.
/// Workspace: 65 rows of blocks, and for each thread a hidden row and one of logits. Cost: 2 · tokens · blocks · hiddenSize FLOPs.
/// </summary>
public sealed unsafe class RouteTokens<TSimd, TVector>() : CpuKernel<FeedForwardRouteProblem>($"feed-forward-route/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int Ranges = 64;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardRouteProblem problem, int threads) =>
        checked(sizeof(float) * (Ranges * 2L * Stride(problem.Blocks) + threads * ThreadFloats(problem)));

    /// <inheritdoc/>
    public override void Run(in FeedForwardRouteProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem,
            Hidden = operands[FeedForwardRouteProblem.Hidden],
            Weight = operands[FeedForwardRouteProblem.Weight],
            Bias = operands[FeedForwardRouteProblem.Bias],
            Selected = operands[FeedForwardRouteProblem.Selected],
            Gates = operands[FeedForwardRouteProblem.Gates],
            Shares = (float*)workspace,
        };
        workers.Run(ref body);
        body.Finish(operands[FeedForwardRouteProblem.Counts], operands[FeedForwardRouteProblem.BalanceLoss]);
    }

    private static int Stride(int blocks) => PanelProduct<TSimd, TVector>.Stride(blocks);

    private static long ThreadFloats(in FeedForwardRouteProblem problem) =>
        Stride(problem.HiddenSize) + 2L * Stride(problem.Blocks);

    private struct Body : IParallelBody
    {
        public FeedForwardRouteProblem Problem;
        public RawView Hidden, Weight, Bias, Selected, Gates;
        public float* Shares; // [ranges, blocks]: sums of gates / Σ gates; then the counts

        private readonly int* Counts => (int*)(Shares + (long)Ranges * Stride(Problem.Blocks));

        public readonly void Execute(int worker, int workers)
        {
            float* hidden = (float*)(Counts + (long)Ranges * Stride(Problem.Blocks)) + worker * ThreadFloats(Problem);
            (long firstRange, long lastRange) = Partition.Range(Ranges, worker, workers);
            for (long range = firstRange; range < lastRange; range++)
            {
                (long first, long last) = Partition.Range(Problem.Tokens, (int)range, Ranges);
                float* shares = Shares + range * Stride(Problem.Blocks);
                int* counts = Counts + range * Stride(Problem.Blocks);
                new Span<float>(shares, Problem.Blocks).Clear();
                new Span<int>(counts, Problem.Blocks).Clear();
                for (long t = first; t < last; t++)
                    Route(t, hidden, shares, counts);
            }
        }

        public readonly void Finish(in RawView counts, in RawView balanceLoss)
        {
            double loss = 0;
            for (int j = 0; j < Problem.Blocks; j++)
            {
                int count = 0;
                double share = 0;
                for (int range = 0; range < Ranges; range++)
                {
                    count += Counts[(long)range * Stride(Problem.Blocks) + j];
                    share += Shares[(long)range * Stride(Problem.Blocks) + j];
                }
                *(int*)counts.Address(j) = count;
                loss += count * share;
            }
            double tokens = Math.Max(1, Problem.Tokens);
            if (balanceLoss.IsPresent)
                *(float*)balanceLoss.Data = (float)(Problem.BalanceWeight * (double)Problem.Blocks * loss / (tokens * tokens * Problem.ActiveBlocks));
        }

        private readonly void Route(long token, float* hidden, float* shares, int* counts)
        {
            int blocks = Problem.Blocks;
            float* logits = hidden + Stride(Problem.HiddenSize), gates = logits + Stride(blocks), row = (float*)Gates.Address(token);
            Rows<TSimd, TVector>.Widen(Hidden.Address(token), Hidden.Type, Problem.HiddenSize, hidden);
            for (int j = 0; j < blocks; j++)
            {
                logits[j] = Rows<TSimd, TVector>.Dot(hidden, (float*)Weight.Address(j), Problem.HiddenSize);
                if (Bias.IsPresent)
                    logits[j] += *(float*)Bias.Address(j);
            }
            for (int j = 0; j < blocks; j += TSimd.Width)
                TSimd.Store(ActivationRows<TSimd, TVector>.Sigmoid(TSimd.Load(logits + j)), gates + j);
            float sum = 0;
            for (int j = 0; j < blocks; j++)
            {
                row[j] = gates[j];
                sum += gates[j];
            }
            if (sum != 0)
                Rows<TSimd, TVector>.AddScaled(gates, 1 / sum, blocks, shares);
            Select(token, logits, counts);
        }

        // Writes the blocks with the largest logits in ascending order; logits are used up.
        private readonly void Select(long token, float* logits, int* counts)
        {
            bool* isSelected = stackalloc bool[Problem.Blocks];
            for (int j = 0; j < Problem.Blocks; j++)
            {
                isSelected[j] = false;
                logits[j] = float.IsNaN(logits[j]) ? float.NegativeInfinity : logits[j];
            }
            for (int i = 0; i < Problem.ActiveBlocks; i++)
            {
                int best = -1;
                for (int j = 0; j < Problem.Blocks; j++)
                {
                    if (!isSelected[j] && (best < 0 || logits[j] > logits[best]))
                        best = j;
                }
                isSelected[best] = true;
            }
            int* selected = (int*)Selected.Address(token);
            for (int j = 0; j < Problem.Blocks; j++)
            {
                if (!isSelected[j])
                    continue;
                *selected++ = j;
                counts[j]++;
            }
        }
    }
}
