namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The warpgroup products a warp has issued and not waited for. Until then their accumulators must not be touched, except by further
/// products of the same shape; the registers and the shared memory they read must not be written.
/// </summary>
internal sealed class PendingProducts(Warp warp)
{
    private const int NoGroup = -1;

    private readonly int[] _groupOfAccumulator = new int[warp.Launch.Program.SlotCount];
    private readonly int[] _shapeOfAccumulator = new int[warp.Launch.Program.SlotCount];
    private readonly int[] _groupOfSource = new int[warp.Launch.Program.SlotCount];
    private readonly bool[] _isUnfenced = new bool[warp.Launch.Program.SlotCount];
    private readonly List<Product> _products = [];
    private int _committed;
    private bool _hasFenced;

    /// <summary>Room for the rows of A of one product.</summary>
    public float[] LeftRows { get; } = new float[16 * MatrixFragments.Depth];

    public void Clear()
    {
        Array.Fill(_groupOfAccumulator, NoGroup);
        Array.Fill(_groupOfSource, NoGroup);
        Array.Clear(_isUnfenced);
        _products.Clear();
        (_committed, _hasFenced) = (0, false);
    }

    /// <summary>Ordinary instructions are about to use registers.</summary>
    public void NoteUse(PtxInstruction instruction)
    {
        foreach (int slot in instruction.Reads)
            NoteUse(instruction, slot, isWrite: false);
        foreach (int slot in instruction.Writes)
            NoteUse(instruction, slot, isWrite: true);
    }

    public void Fence()
    {
        Array.Clear(_isUnfenced);
        _hasFenced = true;
    }

    /// <summary>Checks and notes what a product uses.</summary>
    public void Start(WarpgroupMultiplyInstruction instruction, OperandTile? a, OperandTile b, bool accumulates)
    {
        if (!_hasFenced)
            throw warp.Fault(instruction, -1, "no wgmma.fence stands before the first product");
        foreach (int slot in instruction.RegistersOfA)
        {
            warp.RequireWritten(instruction, slot, uint.MaxValue);
            RequireFenced(instruction, slot);
            if (_groupOfAccumulator[slot] != NoGroup)
                throw warp.Fault(instruction, -1, $"{Name(slot)} is the accumulator of a product in flight");
            _groupOfSource[slot] = _committed;
        }
        foreach (int slot in instruction.Accumulators)
        {
            bool isChained = _groupOfAccumulator[slot] != NoGroup;
            if (isChained && _shapeOfAccumulator[slot] != instruction.Accumulators.Length)
                throw warp.Fault(instruction, -1, $"{Name(slot)} is the accumulator of a product of another shape in flight");
            if (!isChained)
                RequireFenced(instruction, slot);
            if (accumulates && !isChained)
                warp.RequireWritten(instruction, slot, uint.MaxValue);
            if (_groupOfSource[slot] != NoGroup)
                throw warp.Fault(instruction, -1, $"{Name(slot)} is read by a product in flight");
        }
        foreach (int slot in instruction.Accumulators)
        {
            _groupOfAccumulator[slot] = _committed;
            _shapeOfAccumulator[slot] = instruction.Accumulators.Length;
            warp.SetWritten(slot, 0);
        }
        _products.Add(new Product(instruction, _committed, a, b, warp.Launch.InstructionsExecuted));
    }

    public void Commit() => _committed++;

    /// <summary>All but the last groups are done: their accumulators can be read, what they have read must not have changed.</summary>
    public void Wait(int groupsLeft)
    {
        int done = _committed - groupsLeft;
        foreach (Product product in _products)
        {
            if (product.Group >= done)
                continue;
            CheckMemory(product, product.A);
            CheckMemory(product, product.B);
            foreach (int slot in product.Instruction.Accumulators)
            {
                if (_groupOfAccumulator[slot] >= done || _groupOfAccumulator[slot] == NoGroup)
                    continue;
                _groupOfAccumulator[slot] = NoGroup;
                warp.SetWritten(slot, uint.MaxValue);
            }
            foreach (int slot in product.Instruction.RegistersOfA)
                _groupOfSource[slot] = _groupOfSource[slot] < done ? NoGroup : _groupOfSource[slot];
        }
        _products.RemoveAll(product => product.Group < done);
    }

    private void NoteUse(PtxInstruction instruction, int slot, bool isWrite)
    {
        if (_groupOfAccumulator[slot] != NoGroup)
            throw warp.Fault(instruction, -1, $"{Name(slot)} is the accumulator of a product in flight: no wgmma.wait_group covers it");
        if (isWrite && _groupOfSource[slot] != NoGroup)
            throw warp.Fault(instruction, -1, $"{Name(slot)} is read by a product in flight");
        _isUnfenced[slot] = true;
    }

    private void RequireFenced(PtxInstruction instruction, int slot)
    {
        if (_isUnfenced[slot])
            throw warp.Fault(instruction, -1, $"{Name(slot)} was used since the last wgmma.fence");
    }

    private void CheckMemory(Product product, OperandTile? tile)
    {
        foreach (ulong address in tile?.Chunks() ?? [])
        {
            if (warp.Block.Shared.IsWrittenAfter(address, product.Start))
            {
                throw warp.Fault(
                    product.Instruction, -1, $"its operand at 0x{address:X} was written before the warp waited for the product", address);
            }
            warp.Block.Races?.Read(product.Instruction, warp, 0, address, SharedMemory.GranuleBytes);
        }
    }

    private string Name(int slot) => warp.Launch.Program.RegisterName(slot);

    private sealed record Product(WarpgroupMultiplyInstruction Instruction, int Group, OperandTile? A, OperandTile B, long Start);
}
