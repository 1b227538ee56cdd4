using System.Numerics;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary><c>setp</c> and <c>testp</c>.</summary>
internal static class CompareDecoder
{
    private static readonly string[] Comparisons =
        ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

    /// <summary>setp.comparison{.join}.type p{|q}, a, b{, c};</summary>
    public static PtxInstruction SetPredicate(PtxStatement statement, OperandBinder binder)
    {
        statement.Skip("ftz");
        string comparison = statement.Require(Comparisons);
        PredicateJoin join = statement.TakeOne("and", "or", "xor") switch
        {
            "and" => PredicateJoin.And,
            "or" => PredicateJoin.Or,
            "xor" => PredicateJoin.Xor,
            _ => PredicateJoin.None,
        };
        PtxType type = statement.TakeType();
        statement.Finish(join == PredicateJoin.None ? 3 : 4);
        IReadOnlyList<PtxOperand> operands = statement.Operands;
        var pair = operands[0] as PtxPair;
        var places = new Places(
            binder.PredicateDestination(pair?.First ?? operands[0]), binder.PredicateDestination(pair?.Second),
            binder.Source(operands[1], type), binder.Source(operands[2], type),
            join, join == PredicateJoin.None ? binder.Always : binder.Predicate(operands[3]));
        return Typed(type, comparison, places) ?? throw statement.Unknown("no such comparison of this type");
    }

    /// <summary>testp.property.f32 p, a;</summary>
    public static PtxInstruction TestPredicate(PtxStatement statement, OperandBinder binder)
    {
        string property = statement.Require("finite", "infinite", "number", "notanumber");
        statement.Require("f32");
        statement.Finish(2);
        int source = binder.Source(statement.Operands[1], PtxType.F32);
        var places = new Places(
            binder.PredicateDestination(statement.Operands[0]), binder.PredicateDestination(null), source, source,
            PredicateJoin.None, binder.Always);
        return property switch
        {
            "finite" => Create<ComparisonOperations.IsFinite>(places),
            "infinite" => Create<ComparisonOperations.IsInfinite>(places),
            "number" => Create<ComparisonOperations.IsNumber>(places),
            _ => Create<ComparisonOperations.IsNotNumber>(places),
        };
    }

    private static PtxInstruction? Typed(PtxType type, string comparison, Places places) => type switch
    {
        PtxType.B16 or PtxType.U16 => Unsigned<ushort>(comparison, places),
        PtxType.B32 or PtxType.U32 => Unsigned<uint>(comparison, places),
        PtxType.B64 or PtxType.U64 => Unsigned<ulong>(comparison, places),
        PtxType.S16 => Ordered<short>(comparison, places),
        PtxType.S32 => Ordered<int>(comparison, places),
        PtxType.S64 => Ordered<long>(comparison, places),
        PtxType.F16 => Float<Half>(comparison, places),
        PtxType.F32 => Float<float>(comparison, places),
        PtxType.F64 => Float<double>(comparison, places),
        PtxType.BF16 => BFloat16(comparison, places),
        _ => null,
    };

    private static PtxInstruction? Ordered<T>(string comparison, Places places)
        where T : unmanaged, INumber<T> => comparison switch
        {
            "eq" => Create<ComparisonOperations.Equal<T>>(places),
            "ne" => Create<ComparisonOperations.NotEqual<T>>(places),
            "lt" => Create<ComparisonOperations.Less<T>>(places),
            "le" => Create<ComparisonOperations.LessOrEqual<T>>(places),
            "gt" => Create<ComparisonOperations.Greater<T>>(places),
            "ge" => Create<ComparisonOperations.GreaterOrEqual<T>>(places),
            _ => null,
        };

    private static PtxInstruction? Unsigned<T>(string comparison, Places places)
        where T : unmanaged, INumber<T> => Ordered<T>(comparison switch
        {
            "lo" => "lt",
            "ls" => "le",
            "hi" => "gt",
            "hs" => "ge",
            _ => comparison,
        }, places);

    private static PtxInstruction? Float<T>(string comparison, Places places)
        where T : unmanaged, INumber<T> => comparison switch
        {
            "equ" => Create<ComparisonOperations.Not<ComparisonOperations.NotEqual<T>>>(places),
            "neu" => Create<ComparisonOperations.Not<ComparisonOperations.Equal<T>>>(places),
            "ltu" => Create<ComparisonOperations.Not<ComparisonOperations.GreaterOrEqual<T>>>(places),
            "leu" => Create<ComparisonOperations.Not<ComparisonOperations.Greater<T>>>(places),
            "gtu" => Create<ComparisonOperations.Not<ComparisonOperations.LessOrEqual<T>>>(places),
            "geu" => Create<ComparisonOperations.Not<ComparisonOperations.Less<T>>>(places),
            "num" => Create<ComparisonOperations.Ordered<T>>(places),
            "nan" => Create<ComparisonOperations.Not<ComparisonOperations.Ordered<T>>>(places),
            _ => Ordered<T>(comparison, places),
        };

    private static PtxInstruction? BFloat16(string comparison, Places places) => comparison switch
    {
        "eq" => Create<ComparisonOperations.OnBFloat16<ComparisonOperations.Equal<float>>>(places),
        "ne" => Create<ComparisonOperations.OnBFloat16<ComparisonOperations.NotEqual<float>>>(places),
        "lt" => Create<ComparisonOperations.OnBFloat16<ComparisonOperations.Less<float>>>(places),
        "gt" => Create<ComparisonOperations.OnBFloat16<ComparisonOperations.Greater<float>>>(places),
        _ => null,
    };

    private static CompareInstruction<TTest> Create<TTest>(Places places)
        where TTest : struct, ILaneTest =>
        new(places.Destination, places.Complement, places.A, places.B, places.Join, places.Joined);

    private readonly record struct Places(int Destination, int Complement, int A, int B, PredicateJoin Join, PredicateUse Joined);
}
