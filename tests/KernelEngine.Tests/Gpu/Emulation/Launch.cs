namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>One launch: its sizes and parameters, and what is counted while it runs.</summary>
internal sealed class Launch(EmulatedGpu gpu, PtxProgram program, int gridX, int gridY, int gridZ, int blockThreads, int dynamicSharedBytes,
    byte[] parameters)
{
    private readonly long[] _counts = new long[program.Instructions.Length];

    public EmulatedGpu Gpu { get; } = gpu;

    public PtxProgram Program { get; } = program;

    public int GridX { get; } = gridX;

    public int GridY { get; } = gridY;

    public int GridZ { get; } = gridZ;

    public int BlockThreads { get; } = blockThreads;

    public int Warps { get; } = (blockThreads + Warp.Lanes - 1) / Warp.Lanes;

    public int DynamicSharedBytes { get; } = dynamicSharedBytes;

    public byte[] Parameters { get; } = parameters;

    /// <summary>Instructions executed, one for all lanes of a warp that execute it together.</summary>
    public long InstructionsExecuted { get; private set; }

    public LaunchStatistics Statistics { get; } = new();

    /// <summary>Counts an instruction that is about to be executed.</summary>
    public void Count(int place)
    {
        _counts[place]++;
        if (++InstructionsExecuted > Gpu.InstructionBudget)
            throw new PtxFault($"more than {Gpu.InstructionBudget} instructions: endless? Now at line {Program.Instructions[place].Statement.Line}");
    }

    /// <summary>Runs all blocks, one after another.</summary>
    public LaunchStatistics Run(Random random)
    {
        Warp[] warps = [.. Enumerable.Range(0, Warps).Select(i => new Warp(this, i))];
        for (int z = 0; z < GridZ; z++)
        {
            for (int y = 0; y < GridY; y++)
            {
                for (int x = 0; x < GridX; x++)
                    new Block(this, warps, x, y, z).Run(random);
            }
        }
        for (int i = 0; i < _counts.Length; i++)
            Statistics.Add(Program.Instructions[i].Statement.Opcode, _counts[i]);
        return Statistics;
    }
}
