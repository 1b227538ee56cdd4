using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// Loss and gradients of cross-entropy with three products instead of four: the logits of as many positions as the caller allows memory
/// for are kept until their log-sum-exp is known, and then, one block of classes after another, become gradients that go into both
/// products (<see cref="GradientProducts{TSimd, TVector}"/>). Logits lie block by block, [block][position][384 classes]. Where a few
/// positions are too many for the memory, theirs lie in the rows of gradClassifier, each block's in what it will overwrite itself: all
/// positions are then one range. Threads claim blocks of classes for the logits, positions for the softmax and the gradients, then
/// positions for gradHidden and classes for gradClassifier: each sum is one thread's, in a fixed order, and depends on the
/// number of positions kept and of threads alone.
/// Workspace: what the problem allows, and per thread the panels of 192 classes. Cost: 6 · positions · vocabSize · hiddenSize FLOPs; the
/// classifier is read twice for each range of positions, and its gradient read and written once.
/// </summary>
public sealed unsafe class KeptLogitsTraining<TSimd, TVector>() : CpuKernel<CrossEntropyTrainingProblem>($"cross-entropy-training/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockRows = LogitTile<TSimd, TVector>.BlockRows;
    private const int UnitClasses = GradientProducts<TSimd, TVector>.UnitClasses;
    private const int BlockClasses = 384; // whole panels and whole units
    private const int GradientStride = BlockClasses + 16; // rows do not share cache sets
    private const int GradientRows = 24; // of a claim
    private const int LogitClasses = BlockClasses / 2; // of a claim; their panels stay in the second-level cache
    private const int FewestRows = 48; // with fewer positions at a time, reading the classifier over and over costs more than the logits

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => LogitTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override string? WhyUnsupported(in CrossEntropyTrainingProblem problem) =>
        new Plan(problem, canBorrow: false).KeepsEnough(problem) ? null : $"keeps the logits of at least {FewestRows} positions in memory, for which {problem.WorkspaceMiB} MiB are not enough";

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyTrainingProblem problem, int threads)
    {
        Plan plan = new(problem, canBorrow: false), borrowing = new(problem, canBorrow: true);
        return checked(Math.Max(plan.ThreadBegin, borrowing.ThreadBegin) + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in CrossEntropyTrainingProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        CrossEntropyProblem forward = problem.Forward;
        RawView gradClassifier = operands[CrossEntropyTrainingProblem.GradClassifier];
        var plan = new Plan(problem, canBorrow: gradClassifier.IsPresent && gradClassifier.Layout.Stride(0) == forward.HiddenSize);
        byte* memory = (byte*)workspace;
        var body = new Body
        {
            Plan = plan,
            Workspace = memory,
            Products = new GradientProducts<TSimd, TVector>
            {
                Call = new CrossEntropyCall(forward, operands),
                GradHidden = operands[CrossEntropyTrainingProblem.GradHidden],
                GradClassifier = gradClassifier,
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
            GivenGradients = new CrossEntropyGradients<double>(problem.Backward, operands[..CrossEntropyProblem.InputCount]),
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
        PrepareClasses,
        Products,
        Finish,
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly int Rows, Kept; // positions of a range; those among them whose logits lie here and not in gradClassifier
        public readonly bool HasHiddenSums, KeepsClassSums;
        public readonly long States, RowGradients, Bias, Weights, Means, BiasSums, ClassPanels, ClassSums, HiddenSums, Hidden, HiddenPanels;
        public readonly long Logits, LastLogits, Gradients, ThreadBegin, Scratch, ThreadBytes;

        public Plan(in CrossEntropyTrainingProblem problem, bool canBorrow)
        {
            CrossEntropyProblem forward = problem.Forward;
            int width = Rows<TSimd, TVector>.Padded(forward.HiddenSize), positions = forward.Loss.Positions;
            int hiddenStride = LogitTile<TSimd, TVector>.HiddenStride(forward.HiddenSize);
            long vocabSize = ((long)forward.VocabSize + BlockClasses - 1) / BlockClasses * BlockClasses;
            HasHiddenSums = forward.Type != DataType.Float32;
            const int TileRows = MatrixTile<TSimd, TVector>.Rows;
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
            long borrowedBytes = (hiddenStride + (long)width + GradientStride + BlockClasses) * sizeof(float)
                + sizeof(CrossEntropyState<float>) + sizeof(CrossEntropyRowGradient<float>);
            long rowBytes = borrowedBytes + (vocabSize - BlockClasses) * sizeof(float);
            long rows = Math.Clamp(allowed / rowBytes, 0, positions);
            long room = (long)forward.HiddenSize * forward.Type.SizeInBytes() / sizeof(float); // positions whose logits fit into a block's gradient
            if (canBorrow && rows < positions && positions - rows <= room && rowBytes > borrowedBytes)
            {
                // The fewest positions elsewhere with which all are one range.
                long kept = (allowed - positions * borrowedBytes) / (rowBytes - borrowedBytes) / TileRows * TileRows;
                if (kept > 0 && positions - kept <= room)
                    (Kept, rows) = ((int)kept, positions);
            }
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
            Rows = (int)(rows < positions ? rows / TileRows * TileRows : rows);
            Kept = Kept > 0 ? Kept : Rows;
            States = Take(ref at, Rows * (long)sizeof(CrossEntropyState<float>));
            RowGradients = Take(ref at, Rows * (long)sizeof(CrossEntropyRowGradient<float>));
            Hidden = Take(ref at, Rows * (long)hiddenStride * sizeof(float));
            HiddenPanels = Take(ref at, Rows * (long)width * sizeof(float));
            Logits = Take(ref at, Kept * vocabSize * sizeof(float));
            LastLogits = Take(ref at, (Rows - Kept) * (long)BlockClasses * sizeof(float));
            Gradients = Take(ref at, Rows * (long)GradientStride * sizeof(float));
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
        public CrossEntropyGradients<double> GivenGradients;
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

        private readonly CrossEntropyRowGradient<float>* RowGradients => (CrossEntropyRowGradient<float>*)(Workspace + Plan.RowGradients);

        private readonly float* GradientsOf(int row) => (float*)(Workspace + Plan.Gradients) + (long)row * GradientStride;

        // The logits of a position and the classes of a block from class0 on. The last block may have less room in gradClassifier than others.
        private readonly float* LogitsOf(int row, int class0)
        {
            (int block, int place) = Math.DivRem(class0, BlockClasses);
            float* logits = row < Plan.Kept ? (float*)(Workspace + Plan.Logits) + (long)block * Plan.Kept * BlockClasses
                : Problem.VocabSize - class0 + place > BlockClasses ? (float*)Products.GradClassifier.Address(class0 - place)
                : (float*)(Workspace + Plan.LastLogits);
            return logits + (row < Plan.Kept ? row : row - Plan.Kept) * (long)BlockClasses + place;
        }

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
                RunPhase(Phase.PrepareClasses, workers);
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
                        AddLogits(row);
                    break;
                case Phase.PrepareClasses:
                    PrepareClaims(classes, (float*)(own + Plan.Scratch));
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
            for (int row = 0, rows; row < Rows; row += rows)
            {
                rows = Math.Min(BlockRows, (row < Plan.Kept ? Math.Min(Plan.Kept, Rows) : Rows) - row); // what lies in one place
                LogitTile<TSimd, TVector>.Multiply(HiddenOf(row), rows, Problem.HiddenSize, panels, count, LogitsOf(row, class0), BlockClasses);
                for (int r = row; r < row + rows; r++)
                {
                    float* logits = LogitsOf(r, class0);
                    LogitTile<TSimd, TVector>.Transform(Problem, logits, count, Bias == null ? null : Bias + class0);
                    if (MeanLogit.IsPresent)
                        LogitState<TSimd, TVector>.AddTo(Means + class0, logits, Rows<TSimd, TVector>.Padded(count));
                }
            }
        }

        private readonly void AddLogits(int row)
        {
            int position = Products.Positions[First + row], label = Products.Call.TargetIndex(position);
            bool hasWeights = Problem.Loss.LabelSmoothing > 0;
            ref CrossEntropyState<float> state = ref States[row];
            state = CrossEntropyState<float>.Empty;
            for (int class0 = 0; class0 < Problem.VocabSize; class0 += BlockClasses)
            {
                LogitState<TSimd, TVector>.Add(
                    ref state, LogitsOf(row, class0), Math.Min(BlockClasses, Problem.VocabSize - class0), class0, label - class0,
                    hasWeights ? Weights + class0 : null, WantsProduct, WantsBest);
            }
            RowGradients[row] = GivenGradients.Of(position, state.ToDouble().Lse).ToSingle();
        }

        // Claims rows of logits, which become gradients, first, then panels of the classifier.
        private void PrepareClaims(int classes, float* scratch)
        {
            int blocks = (Rows + GradientRows - 1) / GradientRows, panels = Products.GradHidden.IsPresent ? (classes + Columns - 1) / Columns : 0;
            for (int claim = Claim(); claim < blocks + panels; claim = Claim())
            {
                if (claim >= blocks)
                {
                    int n = (claim - blocks) * Columns;
                    Products.PackClasses(Class0, n, Math.Min(Columns, classes - n), scratch);
                    continue;
                }
                for (int row = claim * GradientRows; row < Math.Min(Rows, (claim + 1) * GradientRows); row++)
                    Differentiate(row, classes);
            }
        }

        private readonly void Differentiate(int row, int classes)
        {
            float* dx = GradientsOf(row);
            Rows<TSimd, TVector>.Widen(LogitsOf(row, Class0), DataType.Float32, classes, dx);
            int label = Products.Call.TargetIndex(Products.Positions[First + row]) - Class0;
            LogitGradient<TSimd, TVector>.Differentiate(Problem, RowGradients[row], dx, classes, label, Weights + Class0);
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
                    Products.AddHidden(First + first, last - first, GradientsOf(first), GradientStride, classes);
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
                float* dx = GradientsOf(first) + class0;
                Products.AddClassifier(class0, classes, dx, GradientStride, first, last - first);
                Products.AddBias(class0, classes, dx, GradientStride, last - first);
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
