using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine.Kernels.Cpu.FeedForward;

/// <summary>
/// A routed feed-forward layer (<see cref="FeedForwardProblem"/>): tokens are listed by block, and for one chunk of a block's units after
/// another threads pack its weights together, then claim rows of the block's list: gather them, multiply to units, activate those, and
/// add their product to the tokens' sums. Blocks without tokens are passed over. Each row's sums are in a fixed order, whichever thread
/// has it and however many there are. Workspace: the lists, 2 (SwiGLU: 3) · hiddenSize · 1024 floats of packed weights, 192 rows of
/// hiddenSize + 1024 floats for each thread, and, where the output is narrow, its sums. Cost: 4 (6) · tokens · activeBlocks · hiddenSize ·
/// unitsOfBlock FLOPs.
/// </summary>
public sealed unsafe class RoutedForward<TSimd, TVector>() : CpuKernel<FeedForwardProblem>($"feed-forward-forward/cpu-{TSimd.Name}")
    where TSimd : struct, ISimd<TVector>
    where TVector : unmanaged
{
    private const int BlockRows = 192;

    /// <inheritdoc/>
    public override string? WhyUnavailable => TSimd.WhyUnavailable;

    /// <inheritdoc/>
    public override long GetWorkspaceBytes(in FeedForwardProblem problem, int threads)
    {
        var plan = new Plan(problem);
        return checked(plan.ThreadBegin + threads * plan.ThreadBytes);
    }

    /// <inheritdoc/>
    public override void Run(in FeedForwardProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers)
    {
        var plan = new Plan(problem);
        byte* memory = (byte*)workspace;
        var body = new Body
        {
            Problem = problem,
            Plan = plan,
            Workspace = memory,
            Lists = new TokenLists(problem, operands[FeedForwardProblem.Selected], memory),
            Hidden = operands[FeedForwardProblem.Hidden],
            UpWeight = operands[FeedForwardProblem.UpWeight],
            GateWeight = operands[FeedForwardProblem.GateWeight],
            DownWeight = operands[FeedForwardProblem.DownWeight],
            UpBias = operands[FeedForwardProblem.UpBias],
            DownBias = operands[FeedForwardProblem.DownBias],
            Gates = operands[FeedForwardProblem.Gates],
            Units = operands[FeedForwardProblem.Units],
            Output = new RowSums<TSimd, TVector>(operands[FeedForwardProblem.Output], (float*)(memory + plan.Sums)),
        };
        body.RunPhase(Phase.Begin, workers);
        for (body.Block = 0; body.Block < problem.Blocks; body.Block++)
        {
            for (body.Unit0 = 0; body.Unit0 < problem.UnitsOfBlock && body.Lists.Count(body.Block) > 0; body.Unit0 += plan.Chunks.Size)
            {
                body.RunPhase(Phase.Pack, workers);
                body.RunPhase(Phase.Rows, workers);
            }
        }
        body.RunPhase(Phase.Write, workers);
    }

    private enum Phase
    {
        Begin,
        Pack,
        Rows,
        Write,
    }

    // Where buffers lie in the workspace, in bytes: what threads share, then each thread's own.
    private readonly struct Plan
    {
        public readonly UnitChunks Chunks;
        public readonly int HiddenStride, UnitStride;
        public readonly long UpPanels, GatePanels, DownPanels, Sums, ThreadBegin;
        public readonly long UnitRows, GateRows, Bias, Scratch, ThreadBytes;

        public Plan(in FeedForwardProblem problem)
        {
            Chunks = new UnitChunks(problem);
            HiddenStride = PanelProduct<TSimd, TVector>.Stride(problem.HiddenSize);
            UnitStride = PanelProduct<TSimd, TVector>.Stride(Chunks.Size);
            var layout = new BufferLayout(TokenLists.Bytes(problem));
            long unitPanels = (long)problem.HiddenSize * Rows<TSimd, TVector>.Padded(Chunks.Size);
            UpPanels = layout.Floats(unitPanels);
            GatePanels = layout.Floats(problem.IsGated ? unitPanels : 0);
            DownPanels = layout.Floats((long)Chunks.Size * Rows<TSimd, TVector>.Padded(problem.HiddenSize));
            Sums = layout.Bytes(RowSums<TSimd, TVector>.Bytes(problem.GetOperand(FeedForwardProblem.Output)));
            ThreadBegin = layout.End;
            layout = default; // the hidden rows come first
            layout.Floats((long)BlockRows * HiddenStride);
            UnitRows = layout.Floats((long)BlockRows * UnitStride);
            GateRows = layout.Floats(problem.IsGated ? (long)BlockRows * UnitStride : 0);
            Bias = layout.Floats(UnitStride);
            Scratch = layout.Floats(PanelProduct<TSimd, TVector>.PackFloats);
            ThreadBytes = layout.End;
        }
    }

    private struct Body : IParallelBody
    {
        public FeedForwardProblem Problem;
        public Plan Plan;
        public byte* Workspace;
        public TokenLists Lists;
        public RawView Hidden, UpWeight, GateWeight, DownWeight, UpBias, DownBias, Gates, Units;
        public RowSums<TSimd, TVector> Output;
        public int Block, Unit0; // the chunk at hand; its first unit within the block
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
            (long first, long last) = Partition.Range(Problem.Tokens, worker, workers);
            switch (_phase)
            {
                case Phase.Begin:
                    Begin(first, last);
                    break;
                case Phase.Pack:
                    for (int panel = Claim(); Pack(panel, (float*)(own + Plan.Scratch));)
                        panel = Claim();
                    break;
                case Phase.Rows:
                    LoadBias((float*)(own + Plan.Bias));
                    var blocks = new PositionBlocks(Lists.Count(Block), BlockRows, workers);
                    for (int block = Claim(); block < blocks.Count; block = Claim())
                        RunRows(blocks[block].First, blocks[block].Last, own);
                    break;
                default:
                    Output.Write(first, last, 0, Problem.HiddenSize);
                    break;
            }
        }

        private int Claim() => Interlocked.Increment(ref _claimed) - 1;

        private readonly int ChunkUnits => Math.Min(Plan.Chunks.Size, Problem.UnitsOfBlock - Unit0);

        private readonly long FirstUnit => (long)Block * Problem.UnitsOfBlock + Unit0;

        private readonly float* UpPanels => (float*)(Workspace + Plan.UpPanels);

        private readonly float* GatePanels => (float*)(Workspace + Plan.GatePanels);

        private readonly float* DownPanels => (float*)(Workspace + Plan.DownPanels);

        private readonly void Begin(long first, long last)
        {
            for (long t = first; t < last; t++)
            {
                float* row = Output.Row(t);
                new Span<float>(row, Problem.HiddenSize).Clear();
                if (DownBias.IsPresent)
                    Rows<TSimd, TVector>.Widen(DownBias.Data, DownBias.Type, Problem.HiddenSize, row);
            }
        }

        // Packs one panel of those of all weights; false when there are no more.
        private readonly bool Pack(int panel, float* scratch)
        {
            int units = ChunkUnits, unitPanels = PanelProduct<TSimd, TVector>.Panels(units);
            if (panel < unitPanels)
            {
                PanelProduct<TSimd, TVector>.PackTransposed(UpWeight, FirstUnit, units, 0, Problem.HiddenSize, panel, scratch, UpPanels);
                if (Problem.IsGated)
                    PanelProduct<TSimd, TVector>.PackTransposed(GateWeight, FirstUnit, units, 0, Problem.HiddenSize, panel, scratch, GatePanels);
                return true;
            }
            panel -= unitPanels;
            if (panel >= PanelProduct<TSimd, TVector>.Panels(Problem.HiddenSize))
                return false;
            PanelProduct<TSimd, TVector>.PackTransposed(DownWeight, 0, Problem.HiddenSize, FirstUnit, units, panel, scratch, DownPanels);
            return true;
        }

        private readonly void LoadBias(float* bias)
        {
            if (UpBias.IsPresent)
                Rows<TSimd, TVector>.Widen(UpBias.Address(FirstUnit), UpBias.Type, ChunkUnits, bias);
        }

        private readonly void RunRows(int first, int last, byte* own)
        {
            int rows = last - first, units = ChunkUnits, padded = Rows<TSimd, TVector>.Padded(units);
            float* hidden = (float*)own, unitRows = (float*)(own + Plan.UnitRows), gateRows = (float*)(own + Plan.GateRows);
            for (int r = 0; r < rows; r++)
            {
                byte* row = Hidden.Address(Lists[Block, first + r].Token);
                Rows<TSimd, TVector>.Widen(row, Hidden.Type, Problem.HiddenSize, hidden + (long)r * Plan.HiddenStride);
            }
            PanelProduct<TSimd, TVector>.Multiply(hidden, Plan.HiddenStride, rows, Problem.HiddenSize, UpPanels, units, unitRows, Plan.UnitStride);
            if (Problem.IsGated)
                PanelProduct<TSimd, TVector>.Multiply(hidden, Plan.HiddenStride, rows, Problem.HiddenSize, GatePanels, units, gateRows, Plan.UnitStride);
            for (int r = 0; r < rows; r++)
            {
                float* u = unitRows + (long)r * Plan.UnitStride, v = gateRows + (long)r * Plan.UnitStride;
                if (UpBias.IsPresent)
                    Rows<TSimd, TVector>.Add((float*)(own + Plan.Bias), units, u);
                if (Units.IsPresent)
                    Keep(Lists[Block, first + r], u, v, units);
                ActivationRows<TSimd, TVector>.Activate(Problem.Activation, u, v, padded);
            }
            AddDown(first, rows, unitRows, units);
        }

        private readonly void Keep((int Token, int Slot) entry, float* u, float* v, int units)
        {
            byte* kept = Units.Address(entry.Token, entry.Slot) + (long)Unit0 * Units.Type.SizeInBytes();
            if (Problem.IsGated)
                Rows<TSimd, TVector>.Narrow(v, units, kept, Units.Type);
            Rows<TSimd, TVector>.Narrow(u, units, kept + (long)(Problem.KeptUnits - Problem.UnitsOfBlock) * Units.Type.SizeInBytes(), Units.Type);
        }

        private readonly void AddDown(int first, int rows, float* unitRows, int units)
        {
            float* coefficients = stackalloc float[BlockRows];
            for (int r = 0; r < rows; r++)
                coefficients[r] = Coefficient(Lists[Block, first + r].Token);
            Output.AddProduct(Lists, Block, first, unitRows, Plan.UnitStride, rows, DownPanels, units, coefficients);
        }

        private readonly float Coefficient(int token) =>
            Gates.IsPresent ? (float)Problem.Blocks / Problem.ActiveBlocks * *(float*)Gates.Address(token, Block) : 1f;
    }
}
