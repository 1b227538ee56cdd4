using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// The gradients of a routed feed-forward layer (<see cref="FeedForwardBackwardProblem"/>). For one chunk of a block's units after another
/// threads pack its weights together; for one range of the block's tokens after another they claim rows (gather them, multiply the units
/// again or read those that were kept, make the gradients of the units, add those of the hidden rows) and then rows of the weights'
/// gradients, each of which sums over the range's tokens in their order. Nothing is added by two threads: the same bits on each run,
/// however many threads there are. Products of which no result is wanted are left out. Workspace: the lists, up to 5 · hiddenSize · 1024
/// floats of packed weights, up to 1536 · (2 · hiddenSize + 3 · 1024) floats of a range's rows, 96 rows of hiddenSize + 3 · 1024 floats for
/// each thread, and float32 sums where gradients are narrow. Cost: 8 (SwiGLU: 12) · tokens · activeBlocks · hiddenSize · unitsOfBlock FLOPs,
/// and 2 (4) more where units were not kept.
/// </summary>
public sealed unsafe class RoutedBackward<TSimd, TVector>() : CpuKernel<FeedForwardBackwardProblem>($"feed-forward-backward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockRows = 96;
    private const int MostRows = 1536; // of a range
    private const int UnitClaim = 96; // rows of a weight's gradient that a thread claims: whole tiles and whole vectors

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardBackwardProblem problem, int threads)
    {
        var plan = new Plan(problem);
        return checked(plan.ThreadBegin + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in FeedForwardBackwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        FeedForwardProblem forward = problem.Forward;
        var plan = new Plan(problem);
        byte* memory = (byte*)workspace;
        var body = new Body
        {
            Problem = forward,
            Plan = plan,
            Workspace = memory,
            Lists = new TokenLists(forward, operands[FeedForwardProblem.Selected], memory),
            Hidden = operands[FeedForwardProblem.Hidden],
            UpWeight = operands[FeedForwardProblem.UpWeight],
            GateWeight = operands[FeedForwardProblem.GateWeight],
            DownWeight = operands[FeedForwardProblem.DownWeight],
            UpBias = operands[FeedForwardProblem.UpBias],
            Gates = operands[FeedForwardProblem.Gates],
            Units = operands[FeedForwardBackwardProblem.Units],
            GradOutput = operands[FeedForwardBackwardProblem.GradOutput],
            GradUpBias = operands[FeedForwardBackwardProblem.GradUpBias],
            GradDownBias = operands[FeedForwardBackwardProblem.GradDownBias],
            GradGates = operands[FeedForwardBackwardProblem.GradGates],
            GradHidden = new(operands[FeedForwardBackwardProblem.GradHidden], (float*)(memory + plan.HiddenSums)),
            GradUp = new(operands[FeedForwardBackwardProblem.GradUpWeight], (float*)(memory + plan.UpSums)),
            GradGate = new(operands[FeedForwardBackwardProblem.GradGateWeight], (float*)(memory + plan.GateSums)),
            GradDown = new(operands[FeedForwardBackwardProblem.GradDownWeight], (float*)(memory + plan.DownSums)),
        };
        body.RunPhase(Phase.Begin, workers);
        for (body.Block = 0; body.Block < forward.Blocks && body.NeedsUnits; body.Block++)
        {
            int count = body.Lists.Count(body.Block), ranges = Math.Max(1, (count + MostRows - 1) / MostRows);
            for (body.Unit0 = 0; body.Unit0 < forward.UnitsOfBlock; body.Unit0 += plan.Chunks.Size)
            {
                if (count > 0)
                    body.RunPhase(Phase.Pack, workers);
                for (int range = 0; range < ranges; range++)
                {
                    body.First = (int)((long)count * range / ranges);
                    body.Rows = (int)((long)count * (range + 1) / ranges) - body.First;
                    if (count > 0)
                        body.RunPhase(Phase.Rows, workers);
                    if (body.NeedsWeights)
                        body.RunPhase(Phase.Weights, workers);
                }
            }
        }
        body.RunPhase(Phase.Write, workers);
    }

    private enum Phase
    {
        Begin,
        Pack,
        Rows,
        Weights,
        Write,
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly UnitChunks Chunks;
        public readonly int HiddenStride, UnitStride;
        public readonly long UpTransposed, GateTransposed, Up, Gate, Down; // panels
        public readonly long HiddenPanels, UnitPanels, GradOutput, GradUnits, GradGates; // of a range's rows
        public readonly long HiddenSums, UpSums, GateSums, DownSums, BiasSums, ThreadBegin;
        public readonly long UnitRows, GateRows, Errors, Bias, Scratch, ThreadBytes;

        public Plan(in FeedForwardBackwardProblem problem)
        {
            FeedForwardProblem forward = problem.Forward;
            Chunks = new UnitChunks(forward);
            HiddenStride = PanelProduct<TSimd, TVector>.Stride(forward.HiddenSize);
            UnitStride = PanelProduct<TSimd, TVector>.Stride(Chunks.Size);
            int units = Rows<TSimd, TVector>.Padded(Chunks.Size), size = Rows<TSimd, TVector>.Padded(forward.HiddenSize);
            int gated = forward.IsGated ? 1 : 0, again = problem.HasUnits ? 0 : 1;
            long rows = Math.Min(forward.Tokens, MostRows);
            var layout = new BufferLayout(TokenLists.Bytes(forward));
            UpTransposed = layout.Floats(again * (long)forward.HiddenSize * units);
            GateTransposed = layout.Floats(again * gated * (long)forward.HiddenSize * units);
            Up = layout.Floats((long)Chunks.Size * size);
            Gate = layout.Floats(gated * (long)Chunks.Size * size);
            Down = layout.Floats((long)forward.HiddenSize * units);
            HiddenPanels = layout.Floats(rows * size);
            UnitPanels = layout.Floats(rows * units);
            GradOutput = layout.Floats(rows * HiddenStride);
            GradUnits = layout.Floats(rows * UnitStride);
            GradGates = layout.Floats(gated * rows * UnitStride);
            HiddenSums = layout.Bytes(RowSums<TSimd, TVector>.Bytes(problem.GetOperand(FeedForwardBackwardProblem.GradHidden)));
            UpSums = layout.Bytes(RowSums<TSimd, TVector>.Bytes(problem.GetOperand(FeedForwardBackwardProblem.GradUpWeight)));
            GateSums = layout.Bytes(RowSums<TSimd, TVector>.Bytes(problem.GetOperand(FeedForwardBackwardProblem.GradGateWeight)));
            DownSums = layout.Bytes(RowSums<TSimd, TVector>.Bytes(problem.GetOperand(FeedForwardBackwardProblem.GradDownWeight)));
            BiasSums = layout.Floats(UnitStride + UnitClaim);
            ThreadBegin = layout.End;
            layout = default; // the hidden rows come first
            layout.Floats((long)BlockRows * HiddenStride);
            UnitRows = layout.Floats((long)BlockRows * UnitStride);
            GateRows = layout.Floats(gated * (long)BlockRows * UnitStride);
            Errors = layout.Floats((long)BlockRows * UnitStride);
            Bias = layout.Floats(UnitStride);
            Scratch = layout.Floats(Math.Max(PanelProduct<TSimd, TVector>.PackFloats, HiddenStride));
            ThreadBytes = layout.End;
        }
    }

    private struct Body : IParallelBody
    {
        public FeedForwardProblem Problem;
        public Plan Plan;
        public byte* Workspace;
        public TokenLists Lists;
        public RawView Hidden, UpWeight, GateWeight, DownWeight, UpBias, Gates, Units, GradOutput, GradUpBias, GradDownBias, GradGates;
        public RowSums<TSimd, TVector> GradHidden, GradUp, GradGate, GradDown;
        public int Block, Unit0; // the chunk at hand; its first unit within the block
        public int First, Rows; // the range of the block's tokens at hand
        private Phase _phase;
        private int _claimed;

        public void RunPhase(Phase phase, WorkerPool workers)
        {
            (_phase, _claimed) = (phase, 0);
            workers.Run(ref this);
        }

        public void Execute(int worker, int workers)
        {
            byte* own = Workspace + Plan.ThreadBegin + worker * Plan.ThreadBytes;
            switch (_phase)
            {
                case Phase.Begin:
                    Begin(worker, workers, (float*)(own + Plan.Scratch));
                    break;
                case Phase.Pack:
                    for (int panel = Claim(); Pack(panel, (float*)(own + Plan.Scratch));)
                        panel = Claim();
                    break;
                case Phase.Rows:
                    LoadBias((float*)(own + Plan.Bias));
                    var blocks = new PositionBlocks(Rows, BlockRows, workers);
                    for (int block = Claim(); block < blocks.Count; block = Claim())
                        RunRows(blocks[block].First, blocks[block].Last, own);
                    break;
                case Phase.Weights:
                    for (int claim = Claim(); RunWeights(claim);)
                        claim = Claim();
                    break;
                default:
                    Write(worker, workers);
                    break;
            }
        }

        /// <summary>Whether the gradients of the units, or of the gates of blocks, are wanted for anything.</summary>
        public readonly bool NeedsUnits => NeedsErrors || GradDown.IsPresent;

        /// <summary>Whether a gradient sums over tokens.</summary>
        public readonly bool NeedsWeights => NeedsHidden || GradDown.IsPresent || GradUpBias.IsPresent;

        private readonly bool NeedsErrors => NeedsHidden || GradHidden.IsPresent || GradUpBias.IsPresent || GradGates.IsPresent;

        private readonly bool NeedsHidden => GradUp.IsPresent || GradGate.IsPresent;

        private readonly int ChunkUnits => Math.Min(Plan.Chunks.Size, Problem.UnitsOfBlock - Unit0);

        private readonly long FirstUnit => (long)Block * Problem.UnitsOfBlock + Unit0;

        private int Claim() => Interlocked.Increment(ref _claimed) - 1;

        private readonly float* At(long offset) => (float*)(Workspace + offset);

        private readonly void Begin(int worker, int workers, float* row)
        {
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            if (GradHidden.IsPresent)
                GradHidden.Clear(first, last, 0, Problem.HiddenSize);
            for (long t = first; GradGates.IsPresent && t < last; t++)
                new Span<float>(GradGates.Address(t), Problem.Blocks).Clear();
            (first, last) = Partition.Range(Problem.HiddenSize, worker, workers);
            int columns = (int)(last - first);
            if (!GradDownBias.IsPresent || columns == 0)
                return;
            float* sums = At(Plan.HiddenPanels) + first, part = row;
            if (Problem.Tokens == 0)
                sums = row; // there are no panels
            new Span<float>(sums, columns).Clear();
            for (int t = 0; t < Problem.Tokens; t++)
            {
                Rows<TSimd, TVector>.Widen(GradOutput.Address(t) + first * GradOutput.Type.SizeInBytes(), GradOutput.Type, columns, part);
                Rows<TSimd, TVector>.Add(part, columns, sums);
            }
            Rows<TSimd, TVector>.Narrow(sums, columns, GradDownBias.Address(first), GradDownBias.Type);
        }

        // Packs one panel of those of all weights; false when there are no more.
        private readonly bool Pack(int panel, float* scratch)
        {
            int units = ChunkUnits, size = Problem.HiddenSize;
            int unitPanels = PanelProduct<TSimd, TVector>.Panels(units), hiddenPanels = PanelProduct<TSimd, TVector>.Panels(size);
            if (panel < unitPanels)
            {
                if (!Units.IsPresent)
                    PanelProduct<TSimd, TVector>.PackTransposed(UpWeight, FirstUnit, units, 0, size, panel, scratch, At(Plan.UpTransposed));
                if (!Units.IsPresent && Problem.IsGated)
                    PanelProduct<TSimd, TVector>.PackTransposed(GateWeight, FirstUnit, units, 0, size, panel, scratch, At(Plan.GateTransposed));
                if (NeedsErrors)
                    PanelProduct<TSimd, TVector>.Pack(DownWeight, 0, size, FirstUnit, units, panel, At(Plan.Down));
                return true;
            }
            panel -= unitPanels;
            if (panel >= hiddenPanels || !GradHidden.IsPresent)
                return false;
            PanelProduct<TSimd, TVector>.Pack(UpWeight, FirstUnit, units, 0, size, panel, At(Plan.Up));
            if (Problem.IsGated)
                PanelProduct<TSimd, TVector>.Pack(GateWeight, FirstUnit, units, 0, size, panel, At(Plan.Gate));
            return true;
        }

        private readonly void LoadBias(float* bias)
        {
            if (UpBias.IsPresent)
                Rows<TSimd, TVector>.Widen(UpBias.Address(FirstUnit), UpBias.Type, ChunkUnits, bias);
        }

        // Rows of the range, from `first` on.
        private readonly void RunRows(int first, int last, byte* own)
        {
            int rows = last - first, units = ChunkUnits, size = Problem.HiddenSize;
            float* unitRows = (float*)(own + Plan.UnitRows), gateRows = (float*)(own + Plan.GateRows), errors = (float*)(own + Plan.Errors);
            float* gradOutput = At(Plan.GradOutput) + (long)first * Plan.HiddenStride, gradUnits = At(Plan.GradUnits) + (long)first * Plan.UnitStride;
            float* gradGates = At(Plan.GradGates) + (long)first * Plan.UnitStride;
            for (int r = 0; r < rows; r++)
            {
                byte* row = GradOutput.Address(Lists[Block, First + first + r].Token);
                Rows<TSimd, TVector>.Widen(row, GradOutput.Type, size, gradOutput + (long)r * Plan.HiddenStride);
            }
            LoadHidden(first, rows, (float*)own);
            FindUnits(first, rows, own);
            if (NeedsErrors)
                PanelProduct<TSimd, TVector>.Multiply(gradOutput, Plan.HiddenStride, rows, size, At(Plan.Down), units, errors, Plan.UnitStride);
            else
                new Span<float>(errors, rows * Plan.UnitStride).Clear();
            for (int r = 0; r < rows; r++)
            {
                long at = (long)r * Plan.UnitStride;
                int token = Lists[Block, First + first + r].Token;
                float scale = (float)Problem.Blocks / Problem.ActiveBlocks;
                float sum = ActivationRows<TSimd, TVector>.Differentiate(
                    Problem.Activation, unitRows + at, gateRows + at, errors + at, Gates.IsPresent ? scale * *(float*)Gates.Address(token, Block) : 1f,
                    units, gradUnits + at, gradGates + at);
                if (GradGates.IsPresent)
                    *(float*)GradGates.Address(token, Block) += scale * sum;
                if (GradDown.IsPresent)
                    PanelProduct<TSimd, TVector>.Spread(unitRows + at, units, Rows, first + r, At(Plan.UnitPanels));
            }
            if (!GradHidden.IsPresent)
                return;
            GradHidden.AddProduct(Lists, Block, First + first, gradUnits, Plan.UnitStride, rows, At(Plan.Up), units, null);
            if (Problem.IsGated)
                GradHidden.AddProduct(Lists, Block, First + first, gradGates, Plan.UnitStride, rows, At(Plan.Gate), units, null);
        }

        private readonly void LoadHidden(int first, int rows, float* hidden)
        {
            for (int r = 0; r < rows && (NeedsHidden || !Units.IsPresent); r++)
            {
                float* row = hidden + (long)r * Plan.HiddenStride;
                Rows<TSimd, TVector>.Widen(Hidden.Address(Lists[Block, First + first + r].Token), Hidden.Type, Problem.HiddenSize, row);
                if (NeedsHidden)
                    PanelProduct<TSimd, TVector>.Spread(row, Problem.HiddenSize, Rows, first + r, At(Plan.HiddenPanels));
            }
        }

        private readonly void FindUnits(int first, int rows, byte* own)
        {
            int units = ChunkUnits, size = Problem.HiddenSize, past = Rows<TSimd, TVector>.Padded(units) - units;
            float* hidden = (float*)own, unitRows = (float*)(own + Plan.UnitRows), gateRows = (float*)(own + Plan.GateRows);
            if (!Units.IsPresent)
            {
                PanelProduct<TSimd, TVector>.Multiply(hidden, Plan.HiddenStride, rows, size, At(Plan.UpTransposed), units, unitRows, Plan.UnitStride);
                if (Problem.IsGated)
                    PanelProduct<TSimd, TVector>.Multiply(hidden, Plan.HiddenStride, rows, size, At(Plan.GateTransposed), units, gateRows, Plan.UnitStride);
                for (int r = 0; r < rows && UpBias.IsPresent; r++)
                    Rows<TSimd, TVector>.Add((float*)(own + Plan.Bias), units, unitRows + (long)r * Plan.UnitStride);
                return;
            }
            for (int r = 0; r < rows; r++)
            {
                (int token, int slot) = Lists[Block, First + first + r];
                byte* kept = Units.Address(token, slot) + (long)Unit0 * Units.Type.SizeInBytes();
                byte* keptUnits = kept + (long)(Problem.KeptUnits - Problem.UnitsOfBlock) * Units.Type.SizeInBytes();
                float* u = unitRows + (long)r * Plan.UnitStride, v = gateRows + (long)r * Plan.UnitStride;
                Rows<TSimd, TVector>.Widen(keptUnits, Units.Type, units, u);
                new Span<float>(u + units, past).Clear();
                if (!Problem.IsGated)
                    continue;
                Rows<TSimd, TVector>.Widen(kept, Units.Type, units, v);
                new Span<float>(v + units, past).Clear();
            }
        }

        // Adds the range's tokens to some rows of a weight's gradient; false when there are no more.
        private readonly bool RunWeights(int claim)
        {
            int units = ChunkUnits, unitClaims = (units + UnitClaim - 1) / UnitClaim, size = Problem.HiddenSize;
            if (claim < unitClaims)
            {
                int unit = claim * UnitClaim, count = Math.Min(UnitClaim, units - unit);
                AddRows(GradUp, At(Plan.GradUnits) + unit, unit, count);
                AddRows(GradGate, At(Plan.GradGates) + unit, unit, count);
                AddBias(unit, count);
                return true;
            }
            int row = (claim - unitClaims) * UnitClaim, rows = Math.Min(UnitClaim, size - row);
            if (!GradDown.IsPresent || rows <= 0)
                return false;
            int column0 = checked((int)FirstUnit);
            if (First == 0)
                GradDown.Clear(row, row + rows, column0, units);
            PanelProduct<TSimd, TVector>.AddTransposed(
                At(Plan.GradOutput) + row, Plan.HiddenStride, rows, Rows, At(Plan.UnitPanels), units, GradDown.Row(row) + column0, GradDown.Stride);
            if (IsLastRange)
                GradDown.Write(row, row + rows, column0, units);
            return true;
        }

        private readonly bool IsLastRange => First + Rows == Lists.Count(Block);

        private readonly void AddRows(in RowSums<TSimd, TVector> target, float* gradients, int unit, int count)
        {
            if (!target.IsPresent)
                return;
            long row = FirstUnit + unit;
            if (First == 0)
                target.Clear(row, row + count, 0, Problem.HiddenSize);
            PanelProduct<TSimd, TVector>.AddTransposed(
                gradients, Plan.UnitStride, count, Rows, At(Plan.HiddenPanels), Problem.HiddenSize, target.Row(row), target.Stride);
            if (IsLastRange)
                target.Write(row, row + count, 0, Problem.HiddenSize);
        }

        private readonly void AddBias(int unit, int count)
        {
            if (!GradUpBias.IsPresent)
                return;
            float* sums = At(Plan.BiasSums) + unit;
            if (First == 0)
                new Span<float>(sums, count).Clear();
            for (int r = 0; r < Rows; r++)
                Rows<TSimd, TVector>.Add(At(Plan.GradUnits) + (long)r * Plan.UnitStride + unit, count, sums);
            if (IsLastRange)
                Rows<TSimd, TVector>.Narrow(sums, count, GradUpBias.Address(FirstUnit + unit), GradUpBias.Type);
        }

        private readonly void Write(int worker, int workers)
        {
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            if (GradHidden.IsPresent)
                GradHidden.Write(first, last, 0, Problem.HiddenSize);
        }
    }
}
