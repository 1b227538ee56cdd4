namespace KernelEngine;

/// <summary>The numbers that an input operand holds: what random tests draw, and what an index may be. The default is any number.</summary>
/// <param name="Content">The kind of content.</param>
/// <param name="Lower">For integers, the least value.</param>
/// <param name="Upper">For integers, the largest value; for offsets, the last one.</param>
public readonly record struct OperandValues(OperandContent Content, long Lower = 0, long Upper = 0)
{
    /// <summary>Numbers at least 0 and below 1.</summary>
    public static OperandValues Uniform => new(OperandContent.Uniform);

    /// <summary>The factors of stored 8-bit integers.</summary>
    public static OperandValues Scales => new(OperandContent.Scales);

    /// <summary>Integers from 0 to <paramref name="bound"/> − 1.</summary>
    public static OperandValues Below(long bound) => new(OperandContent.Integers, 0, bound - 1);

    /// <summary>Integers from 0 to <paramref name="bound"/> − 1, each once.</summary>
    public static OperandValues DistinctBelow(long bound) => new(OperandContent.DistinctIntegers, 0, bound - 1);

    /// <summary>Integers from <paramref name="lower"/> to <paramref name="upper"/>.</summary>
    public static OperandValues Between(long lower, long upper) => new(OperandContent.Integers, lower, upper);

    /// <summary>Numbers above 0.</summary>
    public static OperandValues Positive => new(OperandContent.Positive);

    /// <summary>Integers from 0 to <paramref name="classes"/> − 1, or <paramref name="ignored"/>.</summary>
    public static OperandValues Labels(long classes, long ignored) => new(OperandContent.Labels, ignored, classes - 1);

    /// <summary>Integers that begin with 0, never fall, and end with <paramref name="total"/>.</summary>
    public static OperandValues Offsets(long total) => new(OperandContent.Offsets, 0, total);

    /// <summary>Integers from their index in the last dimension to <paramref name="bound"/> − 1.</summary>
    public static OperandValues Sources(long bound) => new(OperandContent.Sources, 0, bound - 1);

    /// <summary>For each element of a row the index of another below <paramref name="bound"/> that has none itself, or −1.</summary>
    public static OperandValues Targets(long bound) => new(OperandContent.Targets, -1, bound - 1);

    /// <summary>Integers from 0 to <paramref name="bound"/> − 1 that rise along the last dimension.</summary>
    public static OperandValues AscendingBelow(long bound) => new(OperandContent.Ascending, 0, bound - 1);
}
