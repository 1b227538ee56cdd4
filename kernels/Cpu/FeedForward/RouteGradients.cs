using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The router's gradients (<see cref="FeedForwardRouteBackwardProblem"/>). Threads own ranges of tokens while they make the gradients of the
/// logits and add those of the hidden rows, then ranges of the weight's columns, of which they sum all tokens in their order. Workspace:
/// tokens · blocks floats, and for each thread two hidden rows. Cost: 4 · tokens · blocks · hiddenSize FLOPs.
/// </summary>
public sealed unsafe class RouteGradients<TSimd, TVector>()
    : CpuKernel<FeedForwardRouteBackwardProblem>($"feed-forward-route-backward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int UnitColumns = 256; // of the weight: whole vectors, which stay in the first-level cache for some blocks

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardRouteBackwardProblem problem, int threads) =>
        checked(sizeof(float) * ((long)problem.Forward.Tokens * problem.Forward.Blocks + threads * (long)ThreadFloats(problem.Forward)));

    /// <inheritdoc/>
    public override void Run(in FeedForwardRouteBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Problem = problem.Forward,
            Hidden = operands[FeedForwardRouteBackwardProblem.Hidden],
            Weight = operands[FeedForwardRouteBackwardProblem.Weight],
            Gates = operands[FeedForwardRouteBackwardProblem.Gates],
            Counts = operands[FeedForwardRouteBackwardProblem.Counts],
            GradGates = operands[FeedForwardRouteBackwardProblem.GradGates],
            GradHidden = operands[FeedForwardRouteBackwardProblem.GradHidden],
            GradWeight = operands[FeedForwardRouteBackwardProblem.GradWeight],
            GradBias = operands[FeedForwardRouteBackwardProblem.GradBias],
            Slopes = (float*)workspace,
        };
        workers.Run(ref body);
        body.IsSummed = true;
        workers.Run(ref body);
    }

    private static int ThreadFloats(in FeedForwardRouteProblem problem) => 2 * PanelProduct<TSimd, TVector>.Stride(problem.HiddenSize);

    private struct Body : IParallelBody
    {
        public FeedForwardRouteProblem Problem;
        public RawView Hidden, Weight, Gates, Counts, GradGates, GradHidden, GradWeight, GradBias;
        public float* Slopes; // [tokens, blocks]: the gradients of the logits
        public bool IsSummed; // the second pass: over columns

        public readonly void Execute(int worker, int workers)
        {
            float* row = Slopes + (long)Problem.Tokens * Problem.Blocks + worker * (long)ThreadFloats(Problem);
            if (IsSummed)
            {
                int units = (Problem.HiddenSize + UnitColumns - 1) / UnitColumns;
                (long firstUnit, long lastUnit) = Partition.Range(units, worker, workers);
                for (long unit = firstUnit; GradWeight.IsPresent && unit < lastUnit; unit++)
                    SumColumns((int)unit * UnitColumns, Math.Min(UnitColumns, Problem.HiddenSize - (int)unit * UnitColumns), row);
                (long firstBlock, long lastBlock) = Partition.Range(Problem.Blocks, worker, workers);
                for (long j = firstBlock; GradBias.IsPresent && j < lastBlock; j++)
                    SumBias(j);
                return;
            }
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            for (long t = first; t < last; t++)
            {
                FindSlopes(t, Slopes + t * Problem.Blocks);
                if (GradHidden.IsPresent)
                    AddHidden(t, row);
            }
        }

        private readonly void FindSlopes(long token, float* slopes)
        {
            float* gates = (float*)Gates.Address(token);
            float sum = 0, mean = 0, choices = (float)((double)Problem.Tokens * Problem.ActiveBlocks);
            for (int j = 0; j < Problem.Blocks; j++)
            {
                sum += gates[j];
                if (Counts.IsPresent)
                    mean += Counts.ReadInt32(j) / choices * gates[j];
            }
            bool hasBalance = Counts.IsPresent && sum != 0;
            float balance = hasBalance ? Problem.BalanceWeight * Problem.Blocks / Problem.Tokens / sum : 0;
            mean = hasBalance ? mean / sum : 0;
            for (int j = 0; j < Problem.Blocks; j++)
            {
                float slope = GradGates.IsPresent ? *(float*)GradGates.Address(token, j) : 0;
                if (hasBalance)
                    slope += balance * (Counts.ReadInt32(j) / choices - mean);
                slopes[j] = slope * gates[j] * (1 - gates[j]);
            }
        }

        private readonly void AddHidden(long token, float* row)
        {
            float* sum = row + PanelProduct<TSimd, TVector>.Stride(Problem.HiddenSize);
            new Span<float>(sum, Problem.HiddenSize).Clear();
            for (int j = 0; j < Problem.Blocks; j++)
                Rows<TSimd, TVector>.AddScaled((float*)Weight.Address(j), Slopes[token * Problem.Blocks + j], Problem.HiddenSize, sum);
            Rows<TSimd, TVector>.Widen(GradHidden.Address(token), GradHidden.Type, Problem.HiddenSize, row);
            Rows<TSimd, TVector>.Add(sum, Problem.HiddenSize, row);
            Rows<TSimd, TVector>.Narrow(row, Problem.HiddenSize, GradHidden.Address(token), GradHidden.Type);
        }

        private readonly void SumColumns(int column, int columns, float* row)
        {
            for (int j = 0; j < Problem.Blocks; j++)
                new Span<float>((float*)GradWeight.Address(j) + column, columns).Clear();
            for (long t = 0; t < Problem.Tokens; t++)
            {
                Rows<TSimd, TVector>.Widen(Hidden.Address(t) + (long)column * Hidden.Type.SizeInBytes(), Hidden.Type, columns, row);
                for (int j = 0; j < Problem.Blocks; j++)
                    Rows<TSimd, TVector>.AddScaled(row, Slopes[t * Problem.Blocks + j], columns, (float*)GradWeight.Address(j) + column);
            }
        }

        private readonly void SumBias(long block)
        {
            float sum = 0;
            for (long t = 0; t < Problem.Tokens; t++)
                sum += Slopes[t * Problem.Blocks + block];
            *(float*)GradBias.Address(block) = sum;
        }
    }
}
