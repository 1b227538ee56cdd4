namespace KernelEngine;

/// <summary>One tensor that an operation reads or writes, as its problem prescribes it.</summary>
/// <param name="Name">The argument's name, as in messages: <c>query</c>.</param>
/// <param name="Role">Whether it is read, written or both.</param>
/// <param name="Type">How its elements are stored.</param>
/// <param name="Shape">Its lengths (the strides of this layout are not prescribed).</param>
/// <param name="DimensionNames">The names of its dimensions, separated by commas, for messages.</param>
/// <param name="IsOptional">True when it may be left out.</param>
/// <param name="Values">What numbers an input holds.</param>
public readonly record struct Operand(
    string Name, OperandRole Role, DataType Type, TensorLayout Shape, string DimensionNames, bool IsOptional = false,
    OperandValues Values = default)
{
    /// <summary>True for an optional output that takes a pass of its own: throughput is measured without it.</summary>
    public bool IsCostly { get; init; }

    /// <summary>An operand that this problem does not have: it must be left out.</summary>
    public static Operand Absent(string name) => new(name, OperandRole.Absent, DataType.Float32, default, "", IsOptional: true);

    /// <summary>The shape with names: <c>[kvLength=1024, numKvHeads=8, headDim=128]</c>.</summary>
    public string FormatShape()
    {
        string[] names = DimensionNames.Split(',', StringSplitOptions.TrimEntries);
        var parts = new string[Shape.Rank];
        for (int i = 0; i < parts.Length; i++)
            parts[i] = $"{names[i]}={Shape[i]}";
        return $"[{string.Join(", ", parts)}]";
    }
}
