using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Loss and gradients of cross-entropy with three products instead of four: the logits of as many positions as the caller allows memory
/// for are kept, become their own gradients in place once their log-sum-exp is known, and go into both products
/// (<see cref="GradientProducts{TSimd, TVector}"/>). Threads claim blocks of classes for the logits, positions for the softmax, and
/// then, one block of classes after another, positions for gradHidden and classes for gradClassifier: each sum is one thread's, in
/// a fixed order, and depends on the number of positions kept and of threads alone.
/// Workspace: what the problem allows, and per thread the panels of 256 classes. Cost: 6 · positions · vocabSize · hiddenSize FLOPs; the classifier is read twice for each
/// range of positions, and its gradient read and written once.
/// </summary>
public sealed unsafe class KeptLogitsTraining<TSimd, TVector>() : CpuKernel<CrossEntropyTrainingProblem>($"cross-entropy-training/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockRows = LogitTile<TSimd, TVector>.BlockRows;
    private const int UnitClasses = GradientProducts<TSimd, TVector>.UnitClasses;
    private const int BlockClasses = 384; // whole panels and whole units
    private const int LogitClasses = 256; // of a claim; their panels stay in the second-level cache
    private const int FewestRows = 48; // with fewer positions at a time, reading the classifier over and over costs more than the logits

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => LogitTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in CrossEntropyTrainingProblem problem) =>
        new Plan(problem).KeepsEnough(problem) ? null : $"keeps the logits of at least {FewestRows} positions in memory, for which {problem.WorkspaceMiB} MiB are not enough";

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyTrainingProblem problem, int threads)
    {
        var plan = new Plan(problem);
        return checked(plan.ThreadBegin + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in CrossEntropyTrainingProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        CrossEntropyProblem forward = problem.Forward;
        var plan = new Plan(problem);
        byte* memory = (byte*)workspace;
        var body = new Body
        {
            Plan = plan,
            Workspace = memory,
            Products = new GradientProducts<TSimd, TVector>
            {
                Call = new CrossEntropyCall(forward, operands),
                GradHidden = operands[CrossEntropyTrainingProblem.GradHidden],
                GradClassifier = operands[CrossEntropyTrainingProblem.GradClassifier],
                GradBias = operands[CrossEntropyTrainingProblem.GradBias],
                Positions = (int*)memory,
                ClassPanels = (float*)(memory + plan.ClassPanels),
                HiddenPanels = (float*)(memory + plan.HiddenPanels),
                HiddenSums = plan.HasHiddenSums && operands[CrossEntropyTrainingProblem.GradHidden].IsPresent ? (float*)(memory + plan.HiddenSums) : null,
                BlockClasses = BlockClasses,
                BlockPositions = plan.Rows,
            },
            MeanLogit = operands[CrossEntropyProblem.MeanLogit],
            WantsProduct = operands[CrossEntropyProblem.Entropy].IsPresent,
            WantsBest = operands[CrossEntropyProblem.BestClass].IsPresent || operands[CrossEntropyProblem.Accuracy].IsPresent,
            RowGradients = new CrossEntropyGradients<double>(problem.Backward, operands[..CrossEntropyProblem.InputCount]),
        };
        body.ReadInputs();
        body.RunPhase(Phase.Clear, workers);
        var results = new CrossEntropyResults<double>(forward.Loss, operands);
        int next = 0; // the first position that the results have not seen
        do
        {
            body.RunRange(workers);
            for (int i = 0; i < body.Rows; i++)
            {
                for (int position = body.Products.Positions[body.First + i]; next < position; next++)
                    results.Skip(next);
                results.Add(next++, body.StateOf(i));
            }
            body.First += plan.Rows;
        }
        while (body.First < body.Counted);
        for (; next < forward.Loss.Positions; next++)
            results.Skip(next);
        results.Finish();
        body.RunPhase(Phase.Finish, workers);
    }

    private enum Phase
    {
        Clear,
        LoadHidden,
        Logits,
        Softmax,
        PackClasses,
        Products,
        Finish,
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly int Rows, LogitStride;
        public readonly bool HasHiddenSums, KeepsClassSums;
        public readonly long States, Bias, Weights, Means, BiasSums, ClassPanels, ClassSums, HiddenSums, Hidden, HiddenPanels, Logits, ThreadBegin;
        public readonly long Scratch, ThreadBytes;

        public Plan(in CrossEntropyTrainingProblem problem)
        {
            CrossEntropyProblem forward = problem.Forward;
            int width = Rows<TSimd, TVector>.Padded(forward.HiddenSize), positions = forward.Loss.Positions;
            int hiddenStride = LogitTile<TSimd, TVector>.HiddenStride(forward.HiddenSize);
            long vocabSize = ((long)forward.VocabSize + BlockClasses - 1) / BlockClasses * BlockClasses;
            LogitStride = checked((int)(vocabSize + 16)); // rows do not share cache sets
            HasHiddenSums = forward.Type != DataType.Float32;
            long at = 0;
            _ = Take(ref at, sizeof(int) * (long)positions);
            Bias = Take(ref at, forward.HasBias ? vocabSize * sizeof(float) : 0);
            Weights = Take(ref at, vocabSize * sizeof(float));
            Means = Take(ref at, vocabSize * sizeof(float));
            BiasSums = Take(ref at, vocabSize * sizeof(float));
            ClassPanels = Take(ref at, BlockClasses * (long)width * sizeof(float));
            ClassSums = Take(ref at, BlockClasses * (long)width * sizeof(float));
            HiddenSums = Take(ref at, HasHiddenSums ? (long)positions * width * sizeof(float) : 0);
            long own = 0;
            _ = Take(ref own, (long)LogitClasses * forward.HiddenSize * sizeof(float));
            Scratch = Take(ref own, Math.Max(width, LogitTile<TSimd, TVector>.PackFloats) * (long)sizeof(float));
            ThreadBytes = own;
            long allowed = problem.WorkspaceMiB * (1L << 20) - at;
            long rowBytes = (hiddenStride + (long)width + LogitStride) * sizeof(float) + sizeof(CrossEntropyState<float>);
            long rows = Math.Clamp(allowed / rowBytes, 0, positions);
            // Sums in a narrow gradient would be rounded with every range of positions: they are kept in float32, for all classes.
            KeepsClassSums = HasHiddenSums && rows < positions;
            if (KeepsClassSums)
            {
                at = ClassSums;
                long sums = checked(vocabSize * width * sizeof(float));
                ClassSums = Take(ref at, sums);
                HiddenSums = Take(ref at, (long)positions * width * sizeof(float));
                rows = Math.Clamp((problem.WorkspaceMiB * (1L << 20) - at) / rowBytes, 0, positions);
            }
            const int TileRows = MatrixTile<TSimd, TVector>.Rows;
            Rows = (int)(rows < positions ? rows / TileRows * TileRows : rows);
            States = Take(ref at, Rows * (long)sizeof(CrossEntropyState<float>));
            Hidden = Take(ref at, Rows * (long)hiddenStride * sizeof(float));
            HiddenPanels = Take(ref at, Rows * (long)width * sizeof(float));
            Logits = Take(ref at, Rows * (long)LogitStride * sizeof(float));
            ThreadBegin = at;
        }

        public bool KeepsEnough(in CrossEntropyTrainingProblem problem) => Rows >= Math.Min(FewestRows, problem.Forward.Loss.Positions);

        private static long Take(ref long at, long bytes)
        {
            long begin = at;
            at = checked(at + bytes + 63) / 64 * 64;
            return begin;
        }
    }

    private struct Body : IParallelBody
    {
        public Plan Plan;
        public byte* Workspace;
        public GradientProducts<TSimd, TVector> Products;
        public CrossEntropyGradients<double> RowGradients;
        public RawView MeanLogit;
        public bool WantsProduct, WantsBest;
        public int Counted; // positions that count
        public int First, Rows; // the range of positions at hand
        public int Class0; // the block of classes at hand
        private Phase _phase;
        private int _claimed;

        private readonly CrossEntropyProblem Problem => Products.Call.Problem;

        private readonly float* Weights => (float*)(Workspace + Plan.Weights);

        private readonly float* Bias => Products.Call.Bias.IsPresent ? (float*)(Workspace + Plan.Bias) : null;

        private readonly float* Means => (float*)(Workspace + Plan.Means);

        private readonly CrossEntropyState<float>* States => (CrossEntropyState<float>*)(Workspace + Plan.States);

        private readonly float* LogitsOf(int row) => (float*)(Workspace + Plan.Logits) + (long)row * Plan.LogitStride;

        private readonly float* HiddenOf(int row) => (float*)(Workspace + Plan.Hidden) + (long)row * LogitTile<TSimd, TVector>.HiddenStride(Problem.HiddenSize);

        public void ReadInputs()
        {
            for (int k = 0; k < Problem.Loss.Positions; k++)
            {
                if (Products.Call.Counts(k))
                    Products.Positions[Counted++] = k;
            }
            for (int v = 0; v < Problem.VocabSize; v++)
                (Weights[v], Means[v]) = (Products.Call.ClassWeight(v), 0f);
            for (int v = Problem.VocabSize; v < Rows<TSimd, TVector>.Padded(Problem.VocabSize); v++)
                Weights[v] = 0f;
            _ = LogitTile<TSimd, TVector>.LoadBias(Products.Call, default, 0, Problem.VocabSize, (float*)(Workspace + Plan.Bias));
        }

        public readonly CrossEntropyState<double> StateOf(int row) => States[row].ToDouble();

        public void RunPhase(Phase phase, WorkerPool workers)
        {
            (_phase, _claimed) = (phase, 0);
            workers.Run(ref this);
        }

        public void RunRange(WorkerPool workers)
        {
            Rows = Math.Min(Plan.Rows, Counted - First);
            RunPhase(Phase.LoadHidden, workers);
            RunPhase(Phase.Logits, workers);
            RunPhase(Phase.Softmax, workers);
            for (Class0 = 0; Class0 < Problem.VocabSize; Class0 += BlockClasses)
            {
                Products.ClassSums = (float*)(Workspace + Plan.ClassSums) + (Plan.KeepsClassSums ? (long)Class0 * Products.Width : 0);
                Products.BiasSums = (float*)(Workspace + Plan.BiasSums) + Class0;
                RunPhase(Phase.PackClasses, workers);
                RunPhase(Phase.Products, workers);
            }
        }

        public void Execute(int worker, int workers)
        {
            byte* own = Workspace + Plan.ThreadBegin + worker * Plan.ThreadBytes;
            int classes = Math.Min(BlockClasses, Problem.VocabSize - Class0);
            switch (_phase)
            {
                case Phase.Clear:
                    Products.Clear(Counted, worker, workers);
                    break;
                case Phase.LoadHidden:
                    for (int row = Claim() * BlockRows; row < Rows; row = Claim() * BlockRows)
                        LoadHidden(row, Math.Min(BlockRows, Rows - row));
                    break;
                case Phase.Logits:
                    for (int class0 = Claim() * LogitClasses; class0 < Problem.VocabSize; class0 = Claim() * LogitClasses)
                        ComputeLogits(class0, Math.Min(LogitClasses, Problem.VocabSize - class0), (float*)own, (float*)(own + Plan.Scratch));
                    break;
                case Phase.Softmax:
                    for (int row = Claim(); row < Rows; row = Claim())
                        Differentiate(row);
                    break;
                case Phase.PackClasses:
                    for (int n = Claim() * Columns; n < classes && Products.GradHidden.IsPresent; n = Claim() * Columns)
                        Products.PackClasses(Class0, n, Math.Min(Columns, classes - n), (float*)(own + Plan.Scratch));
                    break;
                case Phase.Products:
                    MultiplyClaims(classes, new PositionBlocks(Rows, BlockRows, workers));
                    break;
                default:
                    Products.WriteHidden(Counted, worker, workers);
                    WriteMeans(worker, workers);
                    break;
            }
        }

        private int Claim() => Interlocked.Increment(ref _claimed) - 1;

        private readonly void LoadHidden(int row, int count)
        {
            LogitTile<TSimd, TVector>.LoadHidden(Products.Call, Products.Positions + First + row, count, HiddenOf(row));
            Products.PackHidden(HiddenOf(row), LogitTile<TSimd, TVector>.HiddenStride(Problem.HiddenSize), row, count);
        }

        private readonly void ComputeLogits(int class0, int count, float* panels, float* scratch)
        {
            for (int n = 0; n < count; n += Columns)
            {
                LogitTile<TSimd, TVector>.PackPanel(
                    Products.Call, default, class0 + n, Math.Min(Columns, count - n), scratch, panels + (long)n * Problem.HiddenSize);
            }
            for (int row = 0; row < Rows; row += BlockRows)
            {
                int rows = Math.Min(BlockRows, Rows - row);
                LogitTile<TSimd, TVector>.Multiply(HiddenOf(row), rows, Problem.HiddenSize, panels, count, LogitsOf(row) + class0, Plan.LogitStride);
                for (int r = row; r < row + rows; r++)
                {
                    LogitTile<TSimd, TVector>.Transform(Problem, LogitsOf(r) + class0, count, Bias == null ? null : Bias + class0);
                    if (MeanLogit.IsPresent)
                        LogitState<TSimd, TVector>.AddTo(Means + class0, LogitsOf(r) + class0, Rows<TSimd, TVector>.Padded(count));
                }
            }
        }

        private readonly void Differentiate(int row)
        {
            int position = Products.Positions[First + row], label = Products.Call.TargetIndex(position);
            bool hasWeights = Problem.Loss.LabelSmoothing > 0;
            ref CrossEntropyState<float> state = ref States[row];
            state = CrossEntropyState<float>.Empty;
            for (int class0 = 0; class0 < Problem.VocabSize; class0 += BlockClasses)
            {
                LogitState<TSimd, TVector>.Add(
                    ref state, LogitsOf(row) + class0, Math.Min(BlockClasses, Problem.VocabSize - class0), class0, label - class0,
                    hasWeights ? Weights + class0 : null, WantsProduct, WantsBest);
            }
            CrossEntropyRowGradient<float> gradient = RowGradients.Of(position, state.ToDouble().Lse).ToSingle();
            LogitGradient<TSimd, TVector>.Differentiate(Problem, gradient, LogitsOf(row), Problem.VocabSize, label, Weights);
        }

        // Claims blocks of positions first, then units of classes.
        private void MultiplyClaims(int classes, PositionBlocks blocks)
        {
            int units = (classes + UnitClasses - 1) / UnitClasses;
            for (int claim = Claim(); claim < blocks.Count + units; claim = Claim())
            {
                if (claim >= blocks.Count)
                {
                    int class0 = (claim - blocks.Count) * UnitClasses;
                    AddClassifier(class0, Math.Min(UnitClasses, classes - class0), blocks);
                }
                else if (Products.GradHidden.IsPresent && blocks[claim] is var (first, last) && first < last)
                {
                    Products.AddHidden(First + first, last - first, LogitsOf(first) + Class0, Plan.LogitStride, classes);
                }
            }
        }

        private readonly void AddClassifier(int class0, int classes, PositionBlocks blocks)
        {
            if (!Products.GradClassifier.IsPresent && !Products.GradBias.IsPresent)
                return;
            if (First == 0)
                Products.ClearClassifier(class0, classes);
            else if (!Plan.KeepsClassSums)
                Products.ReadClassifier(Class0, class0, classes);
            for (int block = 0; block < blocks.Count; block++)
            {
                (int first, int last) = blocks[block];
                float* dx = LogitsOf(first) + Class0 + class0;
                Products.AddClassifier(class0, classes, dx, Plan.LogitStride, first, last - first);
                Products.AddBias(class0, classes, dx, Plan.LogitStride, last - first);
            }
            if (First + Rows >= Counted || !Plan.KeepsClassSums)
                Products.WriteClassifier(Class0, class0, classes);
        }

        private readonly void WriteMeans(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.VocabSize, worker, workers);
            for (long v = first; MeanLogit.IsPresent && v < last; v++)
                *(float*)MeanLogit.Address(v) = Counted == 0 ? 0f : Means[v] / Counted;
        }
    }
}
