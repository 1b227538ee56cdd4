using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.CrossEntropy;

/// <summary>
/// The gradients of cross-entropy (Wijmans et al. 2024, arXiv:2411.09009, algorithm 3) with three products and no more: for a block
/// of classes and, for it, one range of positions after another, logits are computed again into a tile, become gradients dx
/// there (<see cref="CrossEntropyRowGradient{T}"/>), and go into both products (<see cref="GradientProducts{TSimd, TVector}"/>). The paper's
/// kernel adds both with atomics; here threads work on one block together in turns: they claim blocks of positions for the logits and
/// gradHidden, then classes for gradClassifier, so that each sum is one thread's, in a fixed order. The same bits on each run with
/// the same number of threads.
/// With a filter, the classes for which, in a block of up to 96 positions, every |dx| is below ε times its label's factor take no part
/// in the block's products: the others are gathered, so that what is left out need not lie together. The sums of the bias take all.
/// Workspace for all threads: 3 · hiddenSize · classes of a block, positions of a range · (hiddenSize + classes of a block), 192 ·
/// hiddenSize floats a thread (together less than 8 MiB a thread), 24 bytes a position, 4 a class with an order, and gradHidden in float32 where it is narrow.
/// Cost: 6 · positions · vocabSize · hiddenSize FLOPs.
/// </summary>
public sealed unsafe class CutCrossEntropyBackward<TSimd, TVector>() : CpuKernel<CrossEntropyBackwardProblem>($"cross-entropy-backward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int UnitClasses = GradientProducts<TSimd, TVector>.UnitClasses;
    private const int FilteredRows = 96; // of a block where a filter leaves out classes: finer blocks leave out more
    private const int ClassStep = 192; // whole panels and whole units
    private const int MaxBlockClasses = 384;
    private const long ClassFloats = 1_200_000; // a thread, for three of a block's classes
    private const long PositionFloats = 620_000; // a thread, for a range's hidden rows and gradients

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    private static int Columns => LogitTile<TSimd, TVector>.Columns;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in CrossEntropyBackwardProblem problem, int threads)
    {
        var plan = new Plan(problem, threads);
        return checked(plan.ThreadBegin + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in CrossEntropyBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var plan = new Plan(problem, workers.Count);
        byte* memory = (byte*)workspace;
        var body = new Body
        {
            Problem = problem,
            Plan = plan,
            Products = new GradientProducts<TSimd, TVector>
            {
                Call = new CrossEntropyCall(problem.Forward, operands),
                Order = operands[CrossEntropyBackwardProblem.Order],
                GradHidden = operands[CrossEntropyBackwardProblem.GradHidden],
                GradClassifier = operands[CrossEntropyBackwardProblem.GradClassifier],
                GradBias = operands[CrossEntropyBackwardProblem.GradBias],
                Positions = (int*)memory,
                ClassPanels = (float*)(memory + plan.ClassPanels),
                HiddenPanels = (float*)(memory + plan.HiddenPanels),
                ClassSums = (float*)(memory + plan.ClassSums),
                BiasSums = (float*)(memory + plan.BiasSums),
                HiddenSums = plan.HasHiddenSums && operands[CrossEntropyBackwardProblem.GradHidden].IsPresent ? (float*)(memory + plan.HiddenSums) : null,
                BlockClasses = plan.BlockClasses,
                BlockPositions = plan.BlockPositions,
            },
            Workspace = memory,
        };
        body.ReadPositions(operands);
        body.RunPhase(Phase.Clear, workers);
        for (body.Class0 = 0; body.Class0 < problem.Forward.VocabSize; body.Class0 += plan.BlockClasses)
        {
            body.Classes = Math.Min(plan.BlockClasses, problem.Forward.VocabSize - body.Class0);
            body.RunPhase(Phase.PackClasses, workers);
            body.First = 0;
            do
            {
                body.Rows = Math.Min(plan.BlockPositions, body.Counted - body.First);
                body.RunPhase(Phase.Positions, workers);
                if (body.Products.GradClassifier.IsPresent || body.Products.GradBias.IsPresent)
                    body.RunPhase(Phase.Classes, workers);
                body.First += plan.BlockPositions;
            }
            while (body.First < body.Counted);
        }
        body.RunPhase(Phase.WriteHidden, workers);
    }

    private enum Phase
    {
        Clear,
        PackClasses,
        Positions,
        Classes,
        WriteHidden,
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly int BlockClasses, BlockRows, BlockPositions, GradientStride;
        public readonly bool HasHiddenSums;
        public readonly long RowGradients, TransposedPanels, ClassPanels, HiddenPanels, ClassSums, BiasSums, Bias, Weights, Gradients, Compact, Kept, Places, HiddenSums, ThreadBegin;
        public readonly long Scratch, Largest, Gather, ThreadBytes;

        public Plan(in CrossEntropyBackwardProblem backward, int threads)
        {
            CrossEntropyProblem problem = backward.Forward;
            int width = Rows<TSimd, TVector>.Padded(problem.HiddenSize), positions = problem.Loss.Positions;
            long classSteps = Math.Min(MaxBlockClasses, threads * ClassFloats / (3L * Math.Max(1, width))) / ClassStep;
            BlockClasses = (int)Math.Clamp(classSteps, 1, Math.Max(1, ((long)problem.VocabSize + ClassStep - 1) / ClassStep)) * ClassStep;
            bool hasFilter = backward.FilterEpsilon > 0;
            BlockRows = LogitTile<TSimd, TVector>.RowsFor(problem.HiddenSize);
            BlockRows = hasFilter ? Math.Min(BlockRows, FilteredRows) : BlockRows;
            GradientStride = BlockClasses + 16; // rows do not share cache sets
            BlockPositions = (int)Math.Clamp(threads * PositionFloats / (width + GradientStride) / BlockRows * BlockRows, BlockRows, Math.Max(BlockRows, positions));
            HasHiddenSums = backward.GetOperand(CrossEntropyBackwardProblem.GradHidden).Type != DataType.Float32;
            long at = 0;
            _ = Take(ref at, sizeof(int) * (long)positions);
            RowGradients = Take(ref at, (long)positions * sizeof(CrossEntropyRowGradient<float>));
            TransposedPanels = Take(ref at, (long)BlockClasses * problem.HiddenSize * sizeof(float));
            ClassPanels = Take(ref at, (long)BlockClasses * width * sizeof(float));
            HiddenPanels = Take(ref at, (long)BlockPositions * width * sizeof(float));
            ClassSums = Take(ref at, (long)BlockClasses * width * sizeof(float));
            BiasSums = Take(ref at, BlockClasses * sizeof(float));
            Bias = Take(ref at, BlockClasses * sizeof(float));
            Weights = Take(ref at, BlockClasses * sizeof(float));
            Gradients = Take(ref at, (long)BlockPositions * GradientStride * sizeof(float));
            Compact = Take(ref at, hasFilter ? (long)BlockPositions * GradientStride * sizeof(float) : 0);
            Kept = Take(ref at, hasFilter ? (long)new PositionBlocks(BlockPositions, BlockRows, threads).Count * (BlockClasses + 1) * sizeof(int) : 0);
            Places = Take(ref at, backward.HasOrder ? sizeof(int) * (long)problem.VocabSize : 0);
            HiddenSums = Take(ref at, HasHiddenSums ? (long)positions * width * sizeof(float) : 0);
            ThreadBegin = at;
            at = BlockRows * (long)LogitTile<TSimd, TVector>.HiddenStride(problem.HiddenSize) * sizeof(float); // the hidden rows come first
            Scratch = Take(ref at, Math.Max(width, LogitTile<TSimd, TVector>.PackFloats) * (long)sizeof(float));
            Largest = Take(ref at, BlockClasses * sizeof(float));
            Gather = Take(ref at, hasFilter ? GradientProducts<TSimd, TVector>.GatherFloats(BlockClasses) * (long)sizeof(float) : 0);
            ThreadBytes = at;
        }

        private static long Take(ref long at, long bytes)
        {
            long begin = checked(at + 63) / 64 * 64;
            at = checked(begin + bytes + 63) / 64 * 64;
            return begin;
        }
    }

    private struct Body : IParallelBody
    {
        public CrossEntropyBackwardProblem Problem;
        public Plan Plan;
        public GradientProducts<TSimd, TVector> Products;
        public byte* Workspace;
        public int Counted; // positions that count
        public int Class0, Classes; // the block of classes at hand
        public int First, Rows; // the range of positions at hand
        private Phase _phase;
        private int _claimed;

        private readonly CrossEntropyRowGradient<float>* RowGradients => (CrossEntropyRowGradient<float>*)(Workspace + Plan.RowGradients);

        private readonly float* Gradients => (float*)(Workspace + Plan.Gradients);

        // The places of the classes in the order.
        private readonly int* Places => (int*)(Workspace + Plan.Places);

        private readonly bool HasFilter => Problem.FilterEpsilon > 0;

        public void ReadPositions(ReadOnlySpan<RawView> operands)
        {
            var gradients = new CrossEntropyGradients<double>(Problem, operands);
            for (int k = 0; k < Problem.Forward.Loss.Positions; k++)
            {
                if (!Products.Call.Counts(k))
                    continue;
                RowGradients[Counted] = gradients.Of(k).ToSingle();
                Products.Positions[Counted++] = k;
            }
            for (int place = 0; Products.Order.IsPresent && place < Problem.Forward.VocabSize; place++)
                Places[Products.Order.ReadInt32(place)] = place;
        }

        public void RunPhase(Phase phase, WorkerPool workers)
        {
            (_phase, _claimed) = (phase, 0);
            workers.Run(ref this);
        }

        public void Execute(int worker, int workers)
        {
            byte* own = Workspace + Plan.ThreadBegin + worker * Plan.ThreadBytes;
            var blocks = new PositionBlocks(Rows, Plan.BlockRows, workers);
            switch (_phase)
            {
                case Phase.Clear:
                    Products.Clear(Counted, worker, workers);
                    break;
                case Phase.PackClasses:
                    for (int n = Claim() * Columns; n < Classes; n = Claim() * Columns)
                        PackClasses(n, Math.Min(Columns, Classes - n), (float*)(own + Plan.Scratch));
                    break;
                case Phase.Positions:
                    for (int block = Claim(); block < blocks.Count; block = Claim())
                        RunPositions(block, blocks[block], own);
                    break;
                case Phase.Classes:
                    for (int class0 = Claim() * UnitClasses; class0 < Classes; class0 = Claim() * UnitClasses)
                        RunClasses(class0, Math.Min(UnitClasses, Classes - class0), blocks);
                    break;
                default:
                    Products.WriteHidden(Counted, worker, workers);
                    break;
            }
        }

        private int Claim() => Interlocked.Increment(ref _claimed) - 1;

        private readonly float* Compact => (float*)(Workspace + Plan.Compact);

        // How many classes a filter keeps for a block of positions, and which, in their order.
        private readonly int* KeptOf(int block) => (int*)(Workspace + Plan.Kept) + (long)block * (Plan.BlockClasses + 1);

        private readonly void PackClasses(int first, int count, float* scratch)
        {
            CrossEntropyCall call = Products.Call;
            float* panel = (float*)(Workspace + Plan.TransposedPanels) + (long)first * call.Problem.HiddenSize;
            LogitTile<TSimd, TVector>.PackPanel(call, Products.Order, Class0 + first, count, scratch, panel);
            if (Products.GradHidden.IsPresent)
                Products.PackClasses(Class0, first, count, scratch);
            LogitTile<TSimd, TVector>.LoadBias(call, Products.Order, Class0 + first, count, (float*)(Workspace + Plan.Bias) + first);
            float* weights = (float*)(Workspace + Plan.Weights) + first;
            for (int n = 0; n < count; n++)
                weights[n] = call.ClassWeight(LogitTile<TSimd, TVector>.ClassAt(Products.Order, Class0 + first + n));
            for (int n = count; n < Columns; n++)
                weights[n] = 0f;
        }

        private readonly void RunPositions(int block, (int First, int Last) range, byte* own)
        {
            (int first, int last) = range;
            int rows = last - first, hiddenSize = Problem.Forward.HiddenSize;
            if (rows == 0)
                return;
            float* hidden = (float*)own, largest = (float*)(own + Plan.Largest), dx = Gradients + (long)first * Plan.GradientStride;
            LogitTile<TSimd, TVector>.LoadHidden(Products.Call, Products.Positions + First + first, rows, hidden);
            LogitTile<TSimd, TVector>.Multiply(hidden, rows, hiddenSize, (float*)(Workspace + Plan.TransposedPanels), Classes, dx, Plan.GradientStride);
            // A range that holds all positions stays packed for the other blocks of classes.
            if (Products.GradClassifier.IsPresent && (Class0 == 0 || Counted > Plan.BlockPositions))
                Products.PackHidden(hidden, LogitTile<TSimd, TVector>.HiddenStride(hiddenSize), first, rows);
            if (HasFilter)
                new Span<float>(largest, Rows<TSimd, TVector>.Padded(Classes)).Clear();
            bool isFinite = true;
            for (int r = 0; r < rows; r++)
            {
                ToGradients(First + first + r, dx + (long)r * Plan.GradientStride, HasFilter ? largest : null);
                isFinite &= float.IsFinite(RowGradients[First + first + r].Lse);
            }
            int* kept = KeptOf(block) + 1;
            float* compact = Compact + (long)first * Plan.GradientStride;
            if (HasFilter)
            {
                kept[-1] = FindKept(largest, kept, all: !isFinite); // a NaN must not be left out
                for (int r = 0; r < rows; r++)
                    Gather(dx + (long)r * Plan.GradientStride, kept, kept[-1], compact + (long)r * Plan.GradientStride);
            }
            if (!Products.GradHidden.IsPresent)
                return;
            if (HasFilter && !Problem.IsHiddenFull)
                Products.AddHidden(First + first, rows, compact, Plan.GradientStride, kept[-1], kept, (float*)(own + Plan.Gather));
            else
                Products.AddHidden(First + first, rows, dx, Plan.GradientStride, Classes);
        }

        private readonly void RunClasses(int class0, int classes, PositionBlocks blocks)
        {
            if (First == 0)
                Products.ClearClassifier(class0, classes);
            for (int block = 0; block < blocks.Count; block++)
            {
                (int first, int last) = blocks[block];
                if (first == last)
                    continue; // nothing was kept or left out there
                float* dx = Gradients + (long)first * Plan.GradientStride + class0;
                Products.AddBias(class0, classes, dx, Plan.GradientStride, last - first);
                if (!HasFilter || Problem.IsClassifierFull)
                {
                    Products.AddClassifier(class0, classes, dx, Plan.GradientStride, first, last - first);
                    continue;
                }
                int* kept = KeptOf(block) + 1;
                var all = new ReadOnlySpan<int>(kept, kept[-1]);
                int begin = CountBelow(all, class0), end = CountBelow(all, class0 + classes);
                Products.AddKept(kept + begin, end - begin, Compact + (long)first * Plan.GradientStride + begin, Plan.GradientStride, first, last - first);
            }
            if (First + Rows >= Counted)
                Products.WriteClassifier(Class0, class0, classes);
        }

        private readonly void ToGradients(int counted, float* logits, float* largest)
        {
            CrossEntropyProblem problem = Problem.Forward;
            LogitTile<TSimd, TVector>.Transform(problem, logits, Classes, problem.HasBias ? (float*)(Workspace + Plan.Bias) : null);
            LogitGradient<TSimd, TVector>.Differentiate(
                problem, RowGradients[counted], logits, Classes, FindLabel(Products.Positions[counted]), (float*)(Workspace + Plan.Weights), largest);
        }

        // The place of a position's label in the block, or −1.
        private readonly int FindLabel(int position)
        {
            int index = Products.Call.TargetIndex(position);
            if (index == Problem.Forward.VocabSize)
                return -1;
            int place = (Products.Order.IsPresent ? Places[index] : index) - Class0;
            return place >= 0 && place < Classes ? place : -1;
        }

        private readonly int FindKept(float* largest, int* kept, bool all)
        {
            int count = 0;
            for (int n = 0; n < Classes; n++)
            {
                if (all || largest[n] >= Problem.FilterEpsilon)
                    kept[count++] = n;
            }
            return count;
        }

        private static void Gather(float* row, int* kept, int count, float* target)
        {
            for (int n = 0; n < count; n++)
                target[n] = row[kept[n]];
        }

        // How many of rising numbers are below a bound.
        private static int CountBelow(ReadOnlySpan<int> numbers, int bound)
        {
            int place = numbers.BinarySearch(bound);
            return place < 0 ? ~place : place;
        }
    }
}
