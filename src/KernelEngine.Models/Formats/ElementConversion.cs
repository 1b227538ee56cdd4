using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KernelEngine.Models.Formats;

/// <summary>Converts between the float types of weights, and finds numbers that are not finite.</summary>
internal static class ElementConversion
{
    /// <summary>Converts as many elements as <paramref name="target"/> holds; neither side need be aligned.</summary>
    public static void Convert(ReadOnlySpan<byte> source, DataType sourceType, Span<byte> target, DataType targetType)
    {
        if (sourceType == targetType)
        {
            source.CopyTo(target);
            return;
        }
        int sourceSize = sourceType.SizeInBytes(), targetSize = targetType.SizeInBytes();
        for (int i = 0, j = 0; j < target.Length; i += sourceSize, j += targetSize)
            Write(target[j..], targetType, Read(source[i..], sourceType));
    }

    /// <summary>Index of the first NaN or infinity, or -1.</summary>
    public static int FindNotFinite(ReadOnlySpan<byte> source, DataType type)
    {
        int size = type.SizeInBytes();
        for (int i = 0; i < source.Length; i += size)
        {
            if (!float.IsFinite(Read(source[i..], type)))
                return i / size;
        }
        return -1;
    }

    private static float Read(ReadOnlySpan<byte> source, DataType type) => type switch
    {
        DataType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(source),
        DataType.Float16 => (float)BinaryPrimitives.ReadHalfLittleEndian(source),
        _ => new BFloat16(BinaryPrimitives.ReadUInt16LittleEndian(source)).ToSingle(),
    };

    private static void Write(Span<byte> target, DataType type, float value)
    {
        switch (type)
        {
            case DataType.Float32:
                MemoryMarshal.Write(target, value);
                break;
            case DataType.Float16:
                MemoryMarshal.Write(target, (Half)value);
                break;
            default:
                MemoryMarshal.Write(target, BFloat16.FromSingle(value).Bits);
                break;
        }
    }
}
