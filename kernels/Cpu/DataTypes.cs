namespace KernelEngine;

/// <summary>Size and text form of each <see cref="DataType"/>.</summary>
public static class DataTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int SizeInBytes(this DataType type) => type switch
    {
        DataType.Float32 or DataType.Int32 => 4,
        DataType.Float16 or DataType.BFloat16 or DataType.UInt16 => 2,
        _ => 1,
    };

    /// <summary>Whether elements are floating-point numbers: f32, f16 or bf16.</summary>
    public static bool IsFloat(this DataType type) => type is DataType.Float32 or DataType.Float16 or DataType.BFloat16;

    /// <summary>The short form used in problems: f32, f16, bf16, i32, i8, bool, u16.</summary>
    public static string ToText(this DataType type) => type switch
    {
        DataType.Float32 => "f32",
        DataType.Float16 => "f16",
        DataType.BFloat16 => "bf16",
        DataType.Int32 => "i32",
        DataType.Int8 => "i8",
        DataType.UInt16 => "u16",
        _ => "bool",
    };

    /// <summary>Reads the short form; false when <paramref name="text"/> is none of them.</summary>
    public static bool TryParse(string text, out DataType type)
    {
        (type, bool known) = text switch
        {
            "f32" => (DataType.Float32, true),
            "f16" => (DataType.Float16, true),
            "bf16" => (DataType.BFloat16, true),
            "i32" => (DataType.Int32, true),
            "i8" => (DataType.Int8, true),
            "bool" => (DataType.Boolean, true),
            "u16" => (DataType.UInt16, true),
            _ => (default, false),
        };
        return known;
    }

    /// <summary>The data type that stores a managed element type: float, Half, BFloat16, int, sbyte, bool or ushort.</summary>
    /// <exception cref="NotSupportedException">Any other type.</exception>
    public static DataType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DataType.Float32
        : typeof(T) == typeof(Half) ? DataType.Float16
        : typeof(T) == typeof(BFloat16) ? DataType.BFloat16
        : typeof(T) == typeof(int) ? DataType.Int32
        : typeof(T) == typeof(sbyte) ? DataType.Int8
        : typeof(T) == typeof(bool) ? DataType.Boolean
        : typeof(T) == typeof(ushort) ? DataType.UInt16
        : throw new NotSupportedException($"Tensors hold float, Half, BFloat16, int, sbyte, bool or ushort, not {typeof(T).Name}.");
}
