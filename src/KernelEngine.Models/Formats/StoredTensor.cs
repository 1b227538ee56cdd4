using System.Runtime.InteropServices;

namespace KernelEngine.Models.Formats;

/// <summary>
/// A tensor in a file: where its bytes lie, how they are stored, and its shape. Its range was checked against the file.
/// </summary>
public sealed class StoredTensor
{
    private readonly long[] _shape;

    internal StoredTensor(
        ByteSource source, string name, string storedType, DataType? type, long[] shape, long offset, long bytes) =>
        (Source, Name, StoredType, Type, _shape, Offset, Bytes) = (source, name, storedType, type, shape, offset, bytes);

    /// <summary>The file.</summary>
    public ByteSource Source { get; }

    /// <summary>Its name in the file.</summary>
    public string Name { get; }

    /// <summary>Its type as the file calls it: F32, BF16, I64.</summary>
    public string StoredType { get; }

    /// <summary>The engine's type for it, or null when the engine has none.</summary>
    public DataType? Type { get; }

    /// <summary>Lengths, row-major; empty for a single number.</summary>
    public ReadOnlySpan<long> Shape => _shape;

    /// <summary>The byte in the file where it begins.</summary>
    public long Offset { get; }

    /// <summary>Bytes it occupies.</summary>
    public long Bytes { get; }

    /// <summary>A float32 tensor in memory, row-major.</summary>
    /// <exception cref="ArgumentException">The number of values is not that of the shape.</exception>
    public static StoredTensor FromValues(string name, float[] values, params ReadOnlySpan<long> shape)
    {
        ArgumentNullException.ThrowIfNull(values);
        TensorLayout layout = TensorLayout.Contiguous(shape);
        if (layout.Count != values.Length)
        {
            throw new ArgumentException(
                $"The shape {layout} has {layout.Count} elements but {values.Length} values were given.", nameof(values));
        }
        byte[] bytes = MemoryMarshal.AsBytes(values.AsSpan()).ToArray();
        return new StoredTensor(
            ByteSource.FromMemory(name, bytes), name, "F32", DataType.Float32, shape.ToArray(), 0, bytes.Length);
    }

    /// <summary>The shape as messages print it: <c>[2, 3]</c>.</summary>
    public string FormatShape() => $"[{string.Join(", ", _shape)}]";

    /// <summary>Reads all elements, widened to float32.</summary>
    /// <exception cref="NotSupportedException">The stored type is neither f32 nor f16 nor bf16.</exception>
    public float[] ReadSingles()
    {
        if (Type is null or DataType.Int32)
        {
            throw new NotSupportedException(
                $"{Source.Name}: tensor '{Name}' is stored as {StoredType}; F32, F16 and BF16 can be read as float.");
        }
        var values = new float[Bytes / Type.Value.SizeInBytes()];
        var bytes = new byte[Bytes];
        Source.Read(Offset, bytes);
        ElementConversion.Convert(bytes, Type.Value, MemoryMarshal.AsBytes(values.AsSpan()), DataType.Float32);
        return values;
    }

    /// <summary>Reads all elements of an I32 tensor.</summary>
    /// <exception cref="NotSupportedException">The stored type is not I32.</exception>
    public int[] ReadInt32s()
    {
        if (Type != DataType.Int32)
            throw new NotSupportedException($"{Source.Name}: tensor '{Name}' is stored as {StoredType}, not I32.");
        var values = new int[Bytes / sizeof(int)];
        Source.Read(Offset, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}
