namespace KernelEngine;

/// <summary>How one element of a tensor is stored. Accumulation is float32 whatever the storage.</summary>
public enum DataType
{
    /// <summary>IEEE 754 binary32, text form <c>f32</c>.</summary>
    Float32,

    /// <summary>IEEE 754 binary16 (<see cref="Half"/>), text form <c>f16</c>.</summary>
    Float16,

    /// <summary>The upper half of a binary32 (<see cref="KernelEngine.BFloat16"/>), text form <c>bf16</c>.</summary>
    BFloat16,

    /// <summary>Signed 32-bit integer: token ids and positions, text form <c>i32</c>.</summary>
    Int32,

    /// <summary>Signed 8-bit integer, the quantised keys and values of a cache, text form <c>i8</c>.</summary>
    Int8,

    /// <summary>A byte, zero for false, text form <c>bool</c>.</summary>
    Boolean,

    /// <summary>Unsigned 16-bit integer: lists of up to 65536 keys in half the memory, text form <c>u16</c>.</summary>
    UInt16,
}
