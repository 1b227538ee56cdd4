using System.Numerics;

namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>Reads and writes one stored element as a number: what the scalar references use.</summary>
internal static unsafe class Element
{
    /// <summary>Reads element <paramref name="index"/> after <paramref name="address"/>, widened exactly.</summary>
    public static T Read<T>(byte* address, long index, DataType type) where T : struct, IFloatingPointIeee754<T> => type switch
    {
        DataType.Float32 => T.CreateChecked(((float*)address)[index]),
        DataType.Float16 => T.CreateChecked(((Half*)address)[index]),
        DataType.BFloat16 => T.CreateChecked(((BFloat16*)address)[index].ToSingle()),
        DataType.Int32 => T.CreateChecked(((int*)address)[index]),
        DataType.Int8 => T.CreateChecked(((sbyte*)address)[index]),
        _ => address[index] != 0 ? T.One : T.Zero,
    };

    /// <summary>Writes element <paramref name="index"/> after <paramref name="address"/>, rounded to nearest even.</summary>
    public static void Write<T>(byte* address, long index, DataType type, T value) where T : struct, IFloatingPointIeee754<T>
    {
        switch (type)
        {
            case DataType.Float32:
                ((float*)address)[index] = float.CreateChecked(value);
                break;
            case DataType.Float16:
                ((Half*)address)[index] = Half.CreateChecked(value);
                break;
            case DataType.BFloat16:
                ((BFloat16*)address)[index] = BFloat16.FromSingle(float.CreateChecked(value));
                break;
            case DataType.Int32:
                ((int*)address)[index] = int.CreateChecked(value);
                break;
            case DataType.Int8:
                ((sbyte*)address)[index] = sbyte.CreateChecked(value);
                break;
            default:
                address[index] = value == T.Zero ? (byte)0 : (byte)1;
                break;
        }
    }
}
