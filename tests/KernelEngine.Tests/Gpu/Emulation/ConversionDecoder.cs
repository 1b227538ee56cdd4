using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>cvt</c> between integers, floats, and pairs of sixteen-bit floats.</summary>
internal static class ConversionDecoder
{
    /// <summary>cvt{.rounding}{.ftz}{.relu}{.sat}.to.from d, a{, b};</summary>
    public static PtxInstruction Convert(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("ftz", "satfinite");
        bool isSaturated = statement.Take("sat");
        bool isRectified = statement.Take("relu");
        string? rounding = statement.TakeOne("rni", "rzi", "rmi", "rpi", "rn", "rna", "rz", "rm", "rp");
        if (statement.Take("tf32"))
        {
            statement.Require("f32");
            statement.Finish(2);
            return Create<ConversionOperations.SingleToTensorFloat>(statement, binder, PtxType.B32, PtxType.F32);
        }
        PtxType to = statement.TakeType();
        PtxType from = statement.TakeType();
        if (to is PtxType.BF16x2 or PtxType.F16x2)
            return Pair(statement, binder, to, isRectified, rounding);
        statement.Finish(2);
        if (rounding is "rz" or "rm" or "rp" || isRectified)
            throw statement.Unknown("the emulator rounds to nearest only");
        return Choose(statement, binder, to, from, isSaturated, rounding) ?? throw statement.Unknown("no such conversion");
    }

    // The first source becomes the upper half.
    private static PtxInstruction Pair(PtxStatement statement, OperandBinder binder, PtxType to, bool isRectified, string? rounding)
    {
        statement.Finish(3);
        if (rounding != "rn")
            throw statement.Unknown("the emulator rounds to nearest only");
        int destination = binder.Destination(statement.Operands[0]);
        int upper = binder.Source(statement.Operands[1], PtxType.F32);
        int lower = binder.Source(statement.Operands[2], PtxType.F32);
        int none = binder.Constant(0);
        return (to, isRectified) switch
        {
            (PtxType.BF16x2, false) => new LaneInstruction<ConversionOperations.SinglesToBFloat16Pair>(destination, upper, lower, none),
            (PtxType.BF16x2, true) =>
                new LaneInstruction<ConversionOperations.Rectified<ConversionOperations.SinglesToBFloat16Pair>>(destination, upper, lower, none),
            (_, false) => new LaneInstruction<ConversionOperations.SinglesToHalfPair>(destination, upper, lower, none),
            _ => new LaneInstruction<ConversionOperations.Rectified<ConversionOperations.SinglesToHalfPair>>(destination, upper, lower, none),
        };
    }

    private static PtxInstruction? Choose(
        PtxStatement statement, OperandBinder binder, PtxType to, PtxType from, bool isSaturated, string? rounding)
    {
        var use = new Use(statement, binder, to, from, isSaturated, rounding);
        return from switch
        {
            PtxType.S8 => FromInteger<sbyte>(use),
            PtxType.U8 => FromInteger<byte>(use),
            PtxType.S16 => FromInteger<short>(use),
            PtxType.U16 => FromInteger<ushort>(use),
            PtxType.S32 => FromInteger<int>(use),
            PtxType.U32 => FromInteger<uint>(use),
            PtxType.S64 => FromInteger<long>(use),
            PtxType.U64 => FromInteger<ulong>(use),
            PtxType.F16 => FromFloat<Half>(use),
            PtxType.F32 when to == PtxType.BF16 => use.Create<ConversionOperations.SingleToBFloat16>(),
            PtxType.F32 when to == PtxType.F16 => use.Create<ConversionOperations.SingleToHalf>(),
            PtxType.F32 => FromFloat<float>(use),
            PtxType.F64 => FromFloat<double>(use),
            PtxType.BF16 when to == PtxType.F32 => use.Create<ConversionOperations.BFloat16ToSingle>(),
            _ => null,
        };
    }

    private static PtxInstruction? FromInteger<T>(Use use)
        where T : unmanaged, IBinaryInteger<T> => use.To switch
        {
            PtxType.S8 => Integers<T, sbyte>(use),
            PtxType.U8 => Integers<T, byte>(use),
            PtxType.S16 => Integers<T, short>(use),
            PtxType.U16 => Integers<T, ushort>(use),
            PtxType.S32 => Integers<T, int>(use),
            PtxType.U32 => Integers<T, uint>(use),
            PtxType.S64 => Integers<T, long>(use),
            PtxType.U64 => Integers<T, ulong>(use),
            PtxType.F16 => use.Create<ConversionOperations.Truncate<T, Half>>(),
            PtxType.F32 => use.Create<ConversionOperations.Truncate<T, float>>(),
            PtxType.F64 => use.Create<ConversionOperations.Truncate<T, double>>(),
            _ => null,
        };

    private static PtxInstruction Integers<T, TTo>(Use use)
        where T : unmanaged, IBinaryInteger<T>
        where TTo : unmanaged, IBinaryInteger<TTo> =>
        use.IsSaturated ? use.Create<ConversionOperations.Saturate<T, TTo>>() : use.Create<ConversionOperations.Truncate<T, TTo>>();

    private static PtxInstruction? FromFloat<T>(Use use)
        where T : unmanaged, IFloatingPoint<T> => use.Rounding switch
        {
            "rni" => Rounded<T, ConversionOperations.ToNearestEven>(use),
            "rzi" => Rounded<T, ConversionOperations.TowardsZero>(use),
            "rmi" => Rounded<T, ConversionOperations.Down>(use),
            "rpi" => Rounded<T, ConversionOperations.Up>(use),
            _ => use.To switch
            {
                PtxType.F32 when use.IsSaturated && use.From == PtxType.F32 =>
                    use.Create<FloatOperations.Saturated<IntegerOperations.Move<uint>>>(),
                PtxType.F16 => use.Create<ConversionOperations.Truncate<T, Half>>(),
                PtxType.F32 => use.Create<ConversionOperations.Truncate<T, float>>(),
                PtxType.F64 => use.Create<ConversionOperations.Truncate<T, double>>(),
                _ => null,
            },
        };

    private static PtxInstruction? Rounded<T, TRounding>(Use use)
        where T : unmanaged, IFloatingPoint<T>
        where TRounding : struct, ConversionOperations.IRounding => use.To switch
        {
            PtxType.S8 => use.Create<ConversionOperations.FloatToInteger<T, sbyte, TRounding>>(),
            PtxType.U8 => use.Create<ConversionOperations.FloatToInteger<T, byte, TRounding>>(),
            PtxType.S16 => use.Create<ConversionOperations.FloatToInteger<T, short, TRounding>>(),
            PtxType.U16 => use.Create<ConversionOperations.FloatToInteger<T, ushort, TRounding>>(),
            PtxType.S32 => use.Create<ConversionOperations.FloatToInteger<T, int, TRounding>>(),
            PtxType.U32 => use.Create<ConversionOperations.FloatToInteger<T, uint, TRounding>>(),
            PtxType.S64 => use.Create<ConversionOperations.FloatToInteger<T, long, TRounding>>(),
            PtxType.U64 => use.Create<ConversionOperations.FloatToInteger<T, ulong, TRounding>>(),
            _ when use.To == use.From => use.Create<ConversionOperations.RoundToInteger<T, TRounding>>(),
            _ => null,
        };

    private static ExtendingInstruction<TOperation> Create<TOperation>(PtxStatement statement, OperandBinder binder, PtxType to, PtxType from)
        where TOperation : struct, ILaneOperation =>
        new(binder.Destination(statement.Operands[0]), binder.Source(statement.Operands[1], from), to, binder.Width(statement.Operands[0]));

    private readonly record struct Use(
        PtxStatement Statement, OperandBinder Binder, PtxType To, PtxType From, bool IsSaturated, string? Rounding)
    {
        public ExtendingInstruction<TOperation> Create<TOperation>()
            where TOperation : struct, ILaneOperation => ConversionDecoder.Create<TOperation>(Statement, Binder, To, From);
    }
}
