using System.Numerics;
using System.Runtime.CompilerServices;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// 32 lanes with their registers and places in the program. The lanes at the smallest place run, so lanes that parted meet again where
/// their paths join. Lanes before a collective instruction wait for the others it names.
/// </summary>
internal sealed class Warp
{
    public const int Lanes = 32;

    private readonly ulong[] _registers;
    private readonly uint[] _written;
    private readonly uint[] _predicateWritten;
    private readonly int[] _places = new int[Lanes];
    private readonly PtxInstruction[] _code;
    private readonly bool _hasProducts;
    private uint _gathering;
    private uint _patient;

    public Warp(Launch launch, int index)
    {
        Launch = launch;
        Index = index;
        PtxProgram program = launch.Program;
        _code = program.Instructions;
        _hasProducts = _code.Any(instruction => instruction is WarpgroupMultiplyInstruction);
        _registers = new ulong[program.SlotCount * Lanes];
        _written = new uint[program.SlotCount];
        _predicateWritten = new uint[program.PredicateCount];
        foreach ((int slot, ulong value) in program.Constants)
            Slot(slot).Fill(value);
        Predicates = new uint[program.PredicateCount];
        Copies = new PendingCopies(this);
        Products = new PendingProducts(this);
        int present = Math.Min(Lanes, launch.BlockThreads - index * Lanes);
        Present = present == Lanes ? uint.MaxValue : (1U << present) - 1;
    }

    public Launch Launch { get; }

    public Block Block { get; private set; } = null!;

    /// <summary>The warp's place in its block.</summary>
    public int Index { get; }

    /// <summary>Lanes that have a thread.</summary>
    public uint Present { get; }

    /// <summary>Lanes that have not exited.</summary>
    public uint Live { get; private set; }

    /// <summary>The barrier the warp waits at, or -1.</summary>
    public int BarrierId { get; set; } = -1;

    /// <summary>What is left to do when the barrier lets the warp go.</summary>
    public Action? WhenReleased { get; set; }

    /// <summary>True when the warp's last turn ended because its quantum was used up, not because all its lanes wait for something.</summary>
    public bool IsBusy { get; private set; }

    /// <summary>Lanes that polled in vain in the instruction being executed.</summary>
    public uint PolledInVain { get; set; }

    public PendingCopies Copies { get; }

    public PendingProducts Products { get; }

    /// <summary>Predicate registers, a bit for each lane.</summary>
    public uint[] Predicates { get; }

    /// <summary>The values of one slot in all lanes.</summary>
    public Span<ulong> Slot(int slot) => _registers.AsSpan(slot * Lanes, Lanes);

    public void SetPredicate(int predicate, uint mask, uint lanes) =>
        Predicates[predicate] = Predicates[predicate] & ~mask | lanes & mask;

    /// <summary>Writes one value to a slot in all lanes of a mask.</summary>
    public void Fill(int slot, uint mask, ulong value)
    {
        Span<ulong> values = Slot(slot);
        for (uint rest = mask; rest != 0; rest &= rest - 1)
            values[BitOperations.TrailingZeroCount(rest)] = value;
    }

    /// <summary>A source that must be the same in all lanes.</summary>
    public ulong Uniform(PtxInstruction instruction, int slot, uint mask)
    {
        ReadOnlySpan<ulong> values = Slot(slot);
        ulong first = values[BitOperations.TrailingZeroCount(mask)];
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            if (values[BitOperations.TrailingZeroCount(rest)] != first)
                throw Fault(instruction, BitOperations.TrailingZeroCount(rest), $"{Launch.Program.RegisterName(slot)} is not the same in all lanes");
        }
        return first;
    }

    /// <summary>The lanes that the member mask of the first lane names; the lane must be one of them.</summary>
    public uint Members(PtxInstruction instruction, int slot, uint mask)
    {
        int first = BitOperations.TrailingZeroCount(mask);
        uint members = (uint)Slot(slot)[first] & Present;
        if ((members >> first & 1) == 0)
            throw Fault(instruction, first, $"is no member of its mask 0x{members:X8}");
        return members;
    }

    /// <summary>Says in which lanes a slot holds a value.</summary>
    public void SetWritten(int slot, uint lanes) => _written[slot] = lanes;

    /// <summary>Faults if the slot was not written in one of the lanes.</summary>
    public void RequireWritten(PtxInstruction instruction, int slot, uint lanes)
    {
        if ((_written[slot] & lanes) != lanes)
            throw Unwritten(instruction, slot, lanes & ~_written[slot]);
    }

    /// <summary>Puts the warp at the start of the kernel, with nothing in its registers.</summary>
    public void Start(Block block)
    {
        Block = block;
        Live = Present;
        BarrierId = -1;
        (_gathering, _patient) = (0, 0);
        Array.Clear(_places);
        Array.Clear(_written);
        Array.Clear(_predicateWritten);
        WhenReleased = null;
        Copies.Clear();
        Products.Clear();
        foreach (int slot in Launch.Program.Constants.Keys)
            _written[slot] = uint.MaxValue;
        foreach ((int slot, SpecialRegister register) in Launch.Program.SpecialRegisters)
        {
            for (int lane = 0; lane < Lanes; lane++)
                Slot(slot)[lane] = SpecialRegisters.Value(register, this, lane);
            _written[slot] = uint.MaxValue;
        }
        Predicates[Launch.Program.TruePredicate] = uint.MaxValue;
    }

    /// <summary>Executes up to so many instructions; stops early when all lanes wait for something.</summary>
    public void Run(int quantum)
    {
        _patient = 0;
        while (quantum > 0 && Live != 0 && BarrierId < 0)
        {
            uint candidates = Live & ~_gathering & ~_patient;
            if (candidates == 0)
                break;
            int place = int.MaxValue;
            int next = int.MaxValue;
            uint group = 0;
            for (uint rest = candidates; rest != 0; rest &= rest - 1)
            {
                int lane = BitOperations.TrailingZeroCount(rest);
                int at = _places[lane];
                if (at < place)
                    (next, place, group) = (place, at, 1U << lane);
                else if (at == place)
                    group |= 1U << lane;
                else if (at < next)
                    next = at;
            }
            quantum = RunGroup(group, place, next, quantum);
        }
        IsBusy = quantum == 0;
    }

    /// <summary>Where the lanes are, for messages.</summary>
    public string Position()
    {
        if (Live == 0)
            return $"warp {Index}: done";
        string wait = BarrierId >= 0 ? $" (waits at barrier {BarrierId})" : "";
        var places = new SortedDictionary<int, uint>();
        for (int lane = 0; lane < Lanes; lane++)
        {
            if ((Live >> lane & 1) != 0)
                places[_places[lane]] = places.GetValueOrDefault(_places[lane]) | 1U << lane;
        }
        return $"warp {Index}{wait}: " + string.Join("; ", places.Select(p => $"lanes 0x{p.Value:X8} at {Describe(p.Key)}"
            + ((_gathering & p.Value) != 0 ? " (need other lanes there)" : "")));
    }

    public PtxFault Fault(PtxInstruction instruction, int lane, string reason, ulong address = 0)
    {
        int thread = lane < 0 ? -1 : Index * Lanes + lane;
        string where = lane < 0 ? $"warp {Index}" : $"thread {thread}";
        return new PtxFault($"PTX line {instruction.Statement.Line}: {instruction.Statement.Text}: {reason} "
            + $"({where} of block ({Block.X}, {Block.Y}, {Block.Z}))")
        {
            Line = instruction.Statement.Line,
            Thread = thread,
            Address = address,
        };
    }

    // Executes lanes that stand at the same place until they part, wait, or reach the place of other lanes.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int RunGroup(uint group, int place, int next, int quantum)
    {
        while (quantum > 0)
        {
            if (place >= _code.Length)
                throw new PtxFault($"warp {Index} ran past the last instruction");
            PtxInstruction instruction = _code[place];
            quantum--;
            Launch.Count(place);
            uint mask = group;
            if (instruction.IsGuarded)
            {
                CheckPredicates(instruction, group);
                mask &= instruction.Guard.Lanes(this);
            }
            if (mask == 0)
            {
                place++;
            }
            else if (instruction.Flow == PtxFlow.Branch)
            {
                if (mask != group)
                {
                    Place(group & ~mask, place + 1);
                    Place(mask, ((BranchInstruction)instruction).Target);
                    return quantum;
                }
                place = ((BranchInstruction)instruction).Target;
            }
            else if (instruction.Flow == PtxFlow.Exit)
            {
                Live &= ~mask;
                Block.Events++;
                Place(group & ~mask, place + 1);
                return quantum;
            }
            else
            {
                if (instruction.IsCollective && !Gather(instruction, place, ref mask, ref group, ref next))
                    return quantum;
                Execute(instruction, mask);
                place++;
                if (PolledInVain != 0 || BarrierId >= 0)
                {
                    _patient |= PolledInVain;
                    PolledInVain = 0;
                    break;
                }
            }
            if (place >= next)
                break;
        }
        Place(group, place);
        return quantum;
    }

    // False when lanes are missing: those that are here then wait, and lanes whose guard is false go on. Lanes with another member mask
    // stay at the place and take their own turn.
    private bool Gather(PtxInstruction instruction, int place, ref uint mask, ref uint group, ref int next)
    {
        uint needed = instruction.Together(this, mask);
        if ((needed & ~Live) != 0)
            throw Fault(instruction, -1, $"needs lanes 0x{needed & ~Live:X8}, which have exited");
        uint others = mask & ~needed;
        if (others != 0)
        {
            Place(others, place);
            (mask, group, next) = (mask & needed, group & ~others, place);
        }
        uint here = mask;
        for (uint rest = _gathering & needed; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            if (_places[lane] == place)
                here |= 1U << lane;
        }
        if (here != needed)
        {
            Place(mask, place);
            _gathering |= mask;
            Place(group & ~mask, place + 1);
            return false;
        }
        _gathering &= ~here;
        group |= here;
        mask = here;
        return true;
    }

    private void Execute(PtxInstruction instruction, uint mask)
    {
        if (_hasProducts)
            Products.NoteUse(instruction);
        foreach (int slot in instruction.Reads)
            RequireWritten(instruction, slot, mask);
        CheckPredicates(instruction, mask);
        instruction.Execute(this, mask);
        foreach (int slot in instruction.Writes)
            _written[slot] |= mask;
        foreach (int predicate in instruction.PredicateWrites)
            _predicateWritten[predicate] |= mask;
    }

    private void CheckPredicates(PtxInstruction instruction, uint mask)
    {
        foreach (int predicate in instruction.PredicateReads)
        {
            if ((_predicateWritten[predicate] & mask) != mask)
                throw Fault(instruction, BitOperations.TrailingZeroCount(mask & ~_predicateWritten[predicate]), "reads a predicate never written");
        }
    }

    private PtxFault Unwritten(PtxInstruction instruction, int slot, uint lanes) =>
        Fault(instruction, BitOperations.TrailingZeroCount(lanes), $"reads {Launch.Program.RegisterName(slot)}, which was never written");

    private void Place(uint lanes, int place)
    {
        for (uint rest = lanes; rest != 0; rest &= rest - 1)
            _places[BitOperations.TrailingZeroCount(rest)] = place;
    }

    private string Describe(int place) => place < _code.Length
        ? $"line {_code[place].Statement.Line}: {_code[place].Statement.Text}" : "the end";
}
