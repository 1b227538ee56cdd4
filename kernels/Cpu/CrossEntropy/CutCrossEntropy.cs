using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// The loss of a linear classifier without its logits (Wijmans et al. 2024, arXiv:2411.09009, algorithm 2): for one block of classes
/// after another and, within it, one block of up to 192 positions after another, logits a = (hidden · classifierᵀ + bias) / temperature, capped,
/// go into a tile in the second-level cache, and from there into the state of each position:
/// <code>
/// m' = max(m, max a)      s = s · e^(m − m') + Σ e^(a − m')      and where wanted Σ w · a, Σ e^(a − m') · (a − m'), argmax, a_label
/// </code>
/// Parallel scheme: threads own ranges of the vocabulary and their states are merged at the end in the order of the classes; with
/// few classes they own ranges of positions instead. Positions whose label is ignored take no part. The same bits on each run with
/// the same number of threads.
/// Workspace per thread: hiddenSize · classes of a block floats of panels, at most 4 MiB, 192 · (hiddenSize + classes of a block)
/// floats, and 24 bytes a position. Cost: 2 · positions · vocabSize · hiddenSize FLOPs; reads the classifier once.
/// </summary>
public sealed unsafe class CutCrossEntropy<TSimd, TVector>() : CpuKernel<CrossEntropyProblem>($"cross-entropy-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int MaxBlockClasses = 512;
    private const int MaxPanelFloats = 1 << 20;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => LogitTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyProblem problem, int threads)
    {
        var plan = new Plan(problem, threads);
        return checked(plan.ThreadBegin + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in CrossEntropyProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var body = new Body
        {
            Call = new CrossEntropyCall(problem, operands),
            MeanLogit = operands[CrossEntropyProblem.MeanLogit],
            WantsProduct = problem.IsShard || operands[CrossEntropyProblem.Entropy].IsPresent,
            WantsBest = operands[CrossEntropyProblem.BestClass].IsPresent || operands[CrossEntropyProblem.Accuracy].IsPresent,
            Plan = new Plan(problem, workers.Count),
            Workspace = (byte*)workspace,
        };
        for (int k = 0; k < problem.Loss.Positions; k++)
        {
            if (body.Call.Counts(k))
                body.Positions[body.Counted++] = k;
        }
        workers.Run(ref body);
        var results = new CrossEntropyResults<double>(problem.Loss, operands);
        for (int k = 0, i = 0; k < problem.Loss.Positions; k++)
        {
            if (i == body.Counted || body.Positions[i] != k)
                results.Skip(k);
            else
                results.Add(k, body.MergeParts(i++));
        }
        results.Finish();
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly int BlockClasses, BlockRows, Parts, LogitStride;
        public readonly long States, ThreadBegin, ThreadBytes, Hidden, Logits, Bias, Weights, Sums, Scratch;

        public Plan(in CrossEntropyProblem problem, int threads)
        {
            long panels = ((long)problem.VocabSize + Columns - 1) / Columns;
            Parts = panels >= 2 * threads ? threads : 1;
            BlockClasses = (int)Math.Clamp(MaxPanelFloats / Math.Max(1, problem.HiddenSize) / Columns, 1, Math.Min(MaxBlockClasses / Columns, Math.Max(1, panels))) * Columns;
            BlockRows = LogitTile<TSimd, TVector>.RowsFor(problem.HiddenSize);
            LogitStride = BlockClasses + 16; // rows do not share cache sets
            States = Aligned(sizeof(int) * (long)problem.Loss.Positions);
            ThreadBegin = Aligned(checked(States + (long)Parts * problem.Loss.Positions * sizeof(CrossEntropyState<float>)));
            Hidden = Aligned(checked((long)BlockClasses * problem.HiddenSize * sizeof(float)));
            Logits = checked(Hidden + BlockRows * (long)LogitTile<TSimd, TVector>.HiddenStride(problem.HiddenSize) * sizeof(float));
            Bias = Logits + (long)BlockRows * LogitStride * sizeof(float);
            Weights = Bias + BlockClasses * sizeof(float);
            Sums = Weights + BlockClasses * sizeof(float);
            Scratch = Sums + BlockClasses * sizeof(float);
            ThreadBytes = Aligned(Scratch + LogitTile<TSimd, TVector>.PackFloats * sizeof(float));
        }

        private static long Aligned(long bytes) => checked(bytes + 63) / 64 * 64;
    }

    private struct Body : IParallelBody
    {
        public CrossEntropyCall Call;
        public RawView MeanLogit;
        public bool WantsProduct, WantsBest;
        public Plan Plan;
        public byte* Workspace;
        public int Counted;

        public readonly int* Positions => (int*)Workspace;

        private readonly CrossEntropyState<float>* States => (CrossEntropyState<float>*)(Workspace + Plan.States);

        public void Execute(int worker, int workers)
        {
            byte* own = Workspace + Plan.ThreadBegin + worker * Plan.ThreadBytes;
            int vocabSize = Call.Problem.VocabSize;
            long panels = ((long)vocabSize + Columns - 1) / Columns;
            bool isByClass = Plan.Parts > 1;
            (long firstPanel, long lastPanel) = isByClass ? Partition.Range(panels, worker, workers) : (0, panels);
            (long first, long last) = isByClass ? (0, Counted)
                : MeanLogit.IsPresent ? (0, worker == 0 ? Counted : 0) : Partition.Range(Counted, worker, workers); // a mean is of all positions
            if (first == last && !(MeanLogit.IsPresent && (isByClass || worker == 0)))
                return;
            CrossEntropyState<float>* states = States + (isByClass ? (long)worker * Counted : 0);
            for (long i = first; i < last; i++)
                states[i] = CrossEntropyState<float>.Empty;
            int end = (int)Math.Min(lastPanel * Columns, vocabSize);
            for (int class0 = (int)Math.Min(firstPanel * Columns, vocabSize); class0 < end; class0 += Plan.BlockClasses)
                RunClasses(class0, Math.Min(Plan.BlockClasses, end - class0), (int)first, (int)last, states, own);
        }

        public readonly CrossEntropyState<double> MergeParts(int counted)
        {
            var state = CrossEntropyState<double>.Empty;
            for (int part = 0; part < Plan.Parts; part++)
                state.Merge(States[(long)part * Counted + counted].ToDouble());
            return state;
        }

        private readonly void RunClasses(int class0, int count, int first, int last, CrossEntropyState<float>* states, byte* own)
        {
            float* panels = (float*)own, hidden = (float*)(own + Plan.Hidden), logits = (float*)(own + Plan.Logits), scratch = (float*)(own + Plan.Scratch);
            float* weights = (float*)(own + Plan.Weights), sums = (float*)(own + Plan.Sums);
            RawView noOrder = default;
            for (int n = 0; n < count; n += Columns)
            {
                LogitTile<TSimd, TVector>.PackPanel(
                    Call, noOrder, class0 + n, Math.Min(Columns, count - n), scratch, panels + (long)n * Call.Problem.HiddenSize);
            }
            float* bias = LogitTile<TSimd, TVector>.LoadBias(Call, noOrder, class0, count, (float*)(own + Plan.Bias));
            bool hasWeights = Call.Problem.Loss.LabelSmoothing > 0;
            int padded = Rows<TSimd, TVector>.Padded(count);
            for (int n = 0; hasWeights && n < padded; n++)
                weights[n] = n < count ? Call.ClassWeight(class0 + n) : 0f;
            if (MeanLogit.IsPresent)
                new Span<float>(sums, padded).Clear();
            for (int i0 = first; i0 < last; i0 += Plan.BlockRows)
            {
                int rows = Math.Min(Plan.BlockRows, last - i0);
                LogitTile<TSimd, TVector>.LoadHidden(Call, Positions + i0, rows, hidden);
                LogitTile<TSimd, TVector>.Multiply(hidden, rows, Call.Problem.HiddenSize, panels, count, logits, Plan.LogitStride);
                for (int r = 0; r < rows; r++)
                {
                    float* a = logits + (long)r * Plan.LogitStride;
                    LogitTile<TSimd, TVector>.Transform(Call.Problem, a, count, bias);
                    LogitState<TSimd, TVector>.Add(
                        ref states[i0 + r], a, count, Call.Problem.FirstClass + class0, Call.TargetIndex(Positions[i0 + r]) - class0,
                        hasWeights ? weights : null, WantsProduct, WantsBest);
                    if (MeanLogit.IsPresent)
                        LogitState<TSimd, TVector>.AddTo(sums, a, padded);
                }
            }
            if (MeanLogit.IsPresent)
                WriteMeans(class0, count, sums);
        }

        private readonly void WriteMeans(int class0, int count, float* sums)
        {
            for (int n = 0; n < count; n++)
                *(float*)MeanLogit.Address(class0 + n) = Counted == 0 ? 0f : sums[n] / Counted;
        }
    }
}
