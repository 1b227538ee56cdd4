using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Pure functions of up to three registers, found by opcode and type.</summary>
internal static class ArithmeticDecoder
{
    private delegate PtxInstruction Factory(int destination, int a, int b, int c);

    private static readonly Dictionary<string, Factory> Factories = [];

    static ArithmeticDecoder()
    {
        Integer<short>("s16");
        Integer<ushort>("u16");
        Integer<int>("s32");
        Integer<uint>("u32");
        Integer<long>("s64");
        Integer<ulong>("u64");
        Wide<short, int>("s16");
        Wide<ushort, uint>("u16");
        Wide<int, long>("s32");
        Wide<uint, ulong>("u32");
        High<short, int>("s16");
        High<ushort, uint>("u16");
        High<int, long>("s32");
        High<uint, ulong>("u32");
        High<long, Int128>("s64");
        High<ulong, UInt128>("u64");
        Bits<ushort, short>("b16", "u16", "s16");
        Bits<uint, int>("b32", "u32", "s32");
        Bits<ulong, long>("b64", "u64", "s64");
        BitFields();
        Float<float>("f32");
        Float<double>("f64");
        Single();
        SixteenBits();
    }

    public static PtxInstruction? TryDecode(PtxStatement statement, OperandBinder binder)
    {
        bool isFlushed = statement.Take("ftz");
        bool isSaturated = statement.Take("sat");
        statement.Skip("rn", "approx", "full");
        string key = $"{statement.Name}.{statement.Remaining}";
        int sources = statement.Operands.Count - 1;
        if (sources == 3 && statement.Name is "min" or "max")
            key = $"{key}.3";
        // A flush or a clamp exists for float32 only; for packed halves subnormal values are kept.
        if (isFlushed && key.EndsWith(".f32", StringComparison.Ordinal))
            key = $"{key}.ftz";
        if (isSaturated)
            key = $"{key}.sat";
        if (!Factories.TryGetValue(key, out Factory? create) || sources is < 1 or > 3)
            return null;
        PtxType type = statement.TakeType();
        var slots = new int[3];
        int destination = binder.Destination(statement.Operands[0]);
        for (int i = 0; i < 3; i++)
            slots[i] = i < sources ? binder.Source(statement.Operands[i + 1], SourceType(statement.Name, i, type)) : binder.Constant(0);
        return create(destination, slots[0], slots[1], slots[2]);
    }

    // A shift count and the places of a bit field are u32 whatever the type.
    private static PtxType SourceType(string name, int source, PtxType type) => name is "shl" or "shr" or "bfe" && source > 0 ? PtxType.U32 : type;

    private static void Add<TOperation>(string key)
        where TOperation : struct, ILaneOperation =>
        Factories.Add(key, static (destination, a, b, c) => new LaneInstruction<TOperation>(destination, a, b, c));

    private static void Integer<T>(string type)
        where T : unmanaged, IBinaryInteger<T>
    {
        Add<IntegerOperations.Add<T>>($"add.{type}");
        Add<IntegerOperations.Subtract<T>>($"sub.{type}");
        Add<IntegerOperations.MultiplyLow<T>>($"mul.lo.{type}");
        Add<IntegerOperations.MultiplyAddLow<T>>($"mad.lo.{type}");
        Add<IntegerOperations.Divide<T>>($"div.{type}");
        Add<IntegerOperations.Remainder<T>>($"rem.{type}");
        Add<IntegerOperations.Minimum<T>>($"min.{type}");
        Add<IntegerOperations.Maximum<T>>($"max.{type}");
        Add<IntegerOperations.Negate<T>>($"neg.{type}");
        Add<IntegerOperations.Absolute<T>>($"abs.{type}");
        Add<IntegerOperations.SumOfAbsoluteDifference<T>>($"sad.{type}");
    }

    private static void Wide<T, TWide>(string type)
        where T : unmanaged, IBinaryInteger<T>
        where TWide : unmanaged, IBinaryInteger<TWide>
    {
        Add<IntegerOperations.MultiplyWide<T, TWide>>($"mul.wide.{type}");
        Add<IntegerOperations.MultiplyAddWide<T, TWide>>($"mad.wide.{type}");
    }

    private static void High<T, TWide>(string type)
        where T : unmanaged, IBinaryInteger<T>
        where TWide : unmanaged, IBinaryInteger<TWide>
    {
        Add<IntegerOperations.MultiplyHigh<T, TWide>>($"mul.hi.{type}");
        Add<IntegerOperations.MultiplyAddHigh<T, TWide>>($"mad.hi.{type}");
    }

    private static void Bits<T, TSigned>(string type, string unsignedType, string signedType)
        where T : unmanaged, IBinaryInteger<T>
        where TSigned : unmanaged, IBinaryInteger<TSigned>
    {
        Add<IntegerOperations.And<T>>($"and.{type}");
        Add<IntegerOperations.Or<T>>($"or.{type}");
        Add<IntegerOperations.Xor<T>>($"xor.{type}");
        Add<IntegerOperations.Not<T>>($"not.{type}");
        Add<IntegerOperations.ShiftLeft<T>>($"shl.{type}");
        Add<IntegerOperations.ShiftRight<T>>($"shr.{type}");
        Add<IntegerOperations.ShiftRight<T>>($"shr.{unsignedType}");
        Add<IntegerOperations.ShiftRight<TSigned>>($"shr.{signedType}");
    }

    private static void BitFields()
    {
        Add<BitOperationsOfPtx.PopCount>("popc.b32");
        Add<BitOperationsOfPtx.PopCount>("popc.b64");
        Add<BitOperationsOfPtx.LeadingZeros32>("clz.b32");
        Add<BitOperationsOfPtx.LeadingZeros64>("clz.b64");
        Add<BitOperationsOfPtx.Reverse32>("brev.b32");
        Add<BitOperationsOfPtx.Reverse64>("brev.b64");
        Add<BitOperationsOfPtx.FindUnsigned32>("bfind.u32");
        Add<BitOperationsOfPtx.FindSigned32>("bfind.s32");
        Add<BitOperationsOfPtx.Permute>("prmt.b32");
        Add<BitOperationsOfPtx.FunnelLeftWrap>("shf.l.wrap.b32");
        Add<BitOperationsOfPtx.FunnelLeftClamp>("shf.l.clamp.b32");
        Add<BitOperationsOfPtx.FunnelRightWrap>("shf.r.wrap.b32");
        Add<BitOperationsOfPtx.FunnelRightClamp>("shf.r.clamp.b32");
        Add<BitOperationsOfPtx.Extract<uint>>("bfe.u32");
        Add<BitOperationsOfPtx.Extract<int>>("bfe.s32");
        Add<BitOperationsOfPtx.Extract<ulong>>("bfe.u64");
        Add<BitOperationsOfPtx.Extract<long>>("bfe.s64");
    }

    private static void Float<T>(string type)
        where T : unmanaged, IFloatingPointIeee754<T>
    {
        AddFloat<IntegerOperations.Add<T>>("add", type);
        AddFloat<IntegerOperations.Subtract<T>>("sub", type);
        AddFloat<FloatOperations.Multiply<T>>("mul", type);
        AddFloat<FloatOperations.FusedMultiplyAdd<T>>("fma", type);
        AddFloat<FloatOperations.FusedMultiplyAdd<T>>("mad", type);
        AddFloat<FloatOperations.Divide<T>>("div", type);
        AddFloat<FloatOperations.Minimum<T>>("min", type);
        AddFloat<FloatOperations.Maximum<T>>("max", type);
        AddFloat<FloatOperations.Negate<T>>("neg", type);
        AddFloat<FloatOperations.Absolute<T>>("abs", type);
        AddFloat<FloatOperations.Reciprocal<T>>("rcp", type);
        AddFloat<FloatOperations.SquareRoot<T>>("sqrt", type);
    }

    private static void Single()
    {
        AddFloat<FloatOperations.MinimumOrNan<float>>("min.NaN", "f32");
        AddFloat<FloatOperations.MaximumOrNan<float>>("max.NaN", "f32");
        Add<FloatOperations.OfThree<FloatOperations.Minimum<float>>>("min.f32.3");
        Add<FloatOperations.OfThree<FloatOperations.Maximum<float>>>("max.f32.3");
        AddFloat<FloatOperations.ReciprocalSquareRoot>("rsqrt", "f32");
        AddFloat<FloatOperations.Exponential2>("ex2", "f32");
        AddFloat<FloatOperations.Logarithm2>("lg2", "f32");
        AddFloat<FloatOperations.Sine>("sin", "f32");
        AddFloat<FloatOperations.Cosine>("cos", "f32");
        AddFloat<FloatOperations.HyperbolicTangent>("tanh", "f32");
        Add<FloatOperations.CopySign>("copysign.f32");
    }

    private static void AddFloat<TOperation>(string name, string type)
        where TOperation : struct, ILaneOperation
    {
        Add<TOperation>($"{name}.{type}");
        if (type != "f32")
            return;
        Add<FloatOperations.Flushed<TOperation>>($"{name}.f32.ftz");
        Add<FloatOperations.Saturated<TOperation>>($"{name}.f32.sat");
        Add<FloatOperations.Saturated<FloatOperations.Flushed<TOperation>>>($"{name}.f32.ftz.sat");
    }

    private static void SixteenBits()
    {
        AddSixteen<IntegerOperations.Add<float>>("add");
        AddSixteen<IntegerOperations.Subtract<float>>("sub");
        AddSixteen<FloatOperations.Multiply<float>>("mul");
        AddSixteen<FloatOperations.FusedMultiplyAdd<float>>("fma");
        AddSixteen<FloatOperations.Minimum<float>>("min");
        AddSixteen<FloatOperations.Maximum<float>>("max");
        AddSixteen<FloatOperations.MinimumOrNan<float>>("min.NaN");
        AddSixteen<FloatOperations.MaximumOrNan<float>>("max.NaN");
        AddSixteen<FloatOperations.Negate<float>>("neg");
        AddSixteen<FloatOperations.Absolute<float>>("abs");
        AddSixteen<FloatOperations.Exponential2>("ex2");
        AddSixteen<FloatOperations.HyperbolicTangent>("tanh");
    }

    private static void AddSixteen<TOperation>(string name)
        where TOperation : struct, ILaneOperation
    {
        Add<FloatOperations.OnHalf<TOperation>>($"{name}.f16");
        Add<FloatOperations.OnBothHalves<FloatOperations.OnHalf<TOperation>>>($"{name}.f16x2");
        Add<FloatOperations.OnBFloat16<TOperation>>($"{name}.bf16");
        Add<FloatOperations.OnBothHalves<FloatOperations.OnBFloat16<TOperation>>>($"{name}.bf16x2");
    }
}
