using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>atom</c> and <c>red</c>; warps take turns, so every access is atomic by itself.</summary>
internal static class AtomicDecoder
{
    private static readonly string[] Operations = ["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"];

    /// <summary>atom.op.type d, [a], b{, c};</summary>
    public static PtxInstruction Atomic(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, string operation, PtxType type, _) = Shape(statement);
        statement.Finish(operation == "cas" ? 4 : 3);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        int value = binder.Source(operands[2], type);
        return Create(statement, space, operation, type, [binder.Destination(operands[0])], binder.Address(operands[1]),
            [value], operation == "cas" ? binder.Source(operands[3], type) : value);
    }

    /// <summary>red.op{.vec}.type [a], b;</summary>
    public static PtxInstruction Reduction(PtxStatement statement, OperandBinder binder)
    {
        (StateSpace space, string operation, PtxType type, int count) = Shape(statement);
        statement.Finish(2);
        int[] values = [.. OperandBinder.Elements(statement.Operands[1]).Select(e => binder.Source(e, type))];
        if (values.Length != count || operation is "exch" or "cas")
            throw statement.Unknown("no such reduction");
        return Create(statement, space, operation, type, [], binder.Address(statement.Operands[0]), values, values[0]);
    }

    private static (StateSpace Space, string Operation, PtxType Type, int Count) Shape(PtxStatement statement)
    {
        MemoryDecoder.SkipOrdering(statement);
        statement.Skip("noftz");
        StateSpace space = MemoryDecoder.Space(statement);
        int count = statement.TakeOne("v2", "v4") is string vector ? vector[1] - '0' : 1;
        return (space, statement.Require(Operations), statement.TakeType(), count);
    }

    private static AtomicInstruction Create(PtxStatement statement, StateSpace space, string operation, PtxType type, int[] destinations,
        AddressOperand address, int[] values, int other)
    {
        AtomicInstruction.Update update = Update(operation, type) ?? throw statement.Unknown("no such atomic operation");
        return new AtomicInstruction(space, address, type.Bytes(), destinations, values, other, update);
    }

    private static AtomicInstruction.Update? Update(string operation, PtxType type) => (operation, type) switch
    {
        ("exch", _) => static (old, value, _) => value,
        ("cas", _) => static (old, value, other) => old == value ? other : old,
        ("and", _) => static (old, value, _) => old & value,
        ("or", _) => static (old, value, _) => old | value,
        ("xor", _) => static (old, value, _) => old ^ value,
        ("inc", PtxType.U32) => static (old, value, _) => old >= value ? 0 : old + 1,
        ("dec", PtxType.U32) => static (old, value, _) => old == 0 || old > value ? value : old - 1,
        ("add", PtxType.F16) => static (old, value, _) => FloatOperations.OnHalf<IntegerOperations.Add<float>>.Apply(old, value, 0),
        ("add", PtxType.BF16) => static (old, value, _) => FloatOperations.OnBFloat16<IntegerOperations.Add<float>>.Apply(old, value, 0),
        ("add", PtxType.F16x2) => static (old, value, _) =>
            FloatOperations.OnBothHalves<FloatOperations.OnHalf<IntegerOperations.Add<float>>>.Apply(old, value, 0),
        ("add", PtxType.BF16x2) => static (old, value, _) =>
            FloatOperations.OnBothHalves<FloatOperations.OnBFloat16<IntegerOperations.Add<float>>>.Apply(old, value, 0),
        (_, PtxType.U32 or PtxType.B32) => Number<uint>(operation),
        (_, PtxType.S32) => Number<int>(operation),
        (_, PtxType.U64 or PtxType.B64) => Number<ulong>(operation),
        (_, PtxType.S64) => Number<long>(operation),
        (_, PtxType.F32) => Number<float>(operation),
        (_, PtxType.F64) => Number<double>(operation),
        _ => null,
    };

    private static AtomicInstruction.Update? Number<T>(string operation)
        where T : unmanaged, INumber<T> => operation switch
        {
            "add" => static (old, value, _) => IntegerOperations.Add<T>.Apply(old, value, 0),
            "min" => static (old, value, _) => IntegerOperations.Minimum<T>.Apply(old, value, 0),
            "max" => static (old, value, _) => IntegerOperations.Maximum<T>.Apply(old, value, 0),
            _ => null,
        };
}

/// <summary>Reads, changes and writes an element, lane after lane.</summary>
internal sealed class AtomicInstruction(StateSpace space, AddressOperand address, int elementBytes, int[] destinations, int[] values, int other,
    AtomicInstruction.Update update) : PtxInstruction
{
    /// <summary>The new value from the old one and the sources.</summary>
    public delegate ulong Update(ulong old, ulong value, ulong other);

    public override int SharedElementBytes => space is StateSpace.Shared or StateSpace.Generic ? Math.Min(4, elementBytes) : 4;

    public override void Execute(Warp warp, uint mask)
    {
        int bytes = elementBytes * values.Length;
        Span<byte> wide = stackalloc byte[8];
        for (uint rest = mask; rest != 0; rest &= rest - 1)
        {
            int lane = BitOperations.TrailingZeroCount(rest);
            (StateSpace actual, ulong at) = StateSpaces.Specific(space, address.Of(warp.Slot(address.Slot), lane));
            Span<byte> data = StateSpaces.Bytes(warp, this, lane, actual, at, bytes, bytes);
            if (actual == StateSpace.Shared)
                warp.Block.NoteWrite(this, warp, lane, at, bytes, isAtomic: true);
            for (int i = 0; i < values.Length; i++)
            {
                Span<byte> element = data.Slice(i * elementBytes, elementBytes);
                wide.Clear();
                element.CopyTo(wide);
                ulong old = BitConverter.ToUInt64(wide);
                ulong result = update(old, warp.Slot(values[i])[lane], warp.Slot(other)[lane]);
                BitConverter.TryWriteBytes(wide, result);
                wide[..elementBytes].CopyTo(element);
                if (i < destinations.Length)
                    warp.Slot(destinations[i])[lane] = old;
            }
        }
        warp.Block.Events++;
    }
}
