using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;

namespace KernelEngine.Native;

/// <summary>Reads arguments that come from C and writes results back; each refuses what cannot be right.</summary>
internal static unsafe class Arguments
{
    private const int MaxTextBytes = 1 << 16, MaxStructBytes = 4096;

    /// <summary>A text that must be there: UTF-8 that ends with a zero.</summary>
    public static string Text(byte* text, string name) =>
        OptionalText(text, name) ?? throw new ArgumentNullException(null, $"{name} is NULL.");

    /// <summary>A text, or null for NULL.</summary>
    public static string? OptionalText(byte* text, string name)
    {
        if (text == null)
            return null;
        int length = new ReadOnlySpan<byte>(text, MaxTextBytes).IndexOf((byte)0);
        return length >= 0 ? Encoding.UTF8.GetString(text, length)
            : throw new ArgumentException($"{name} has more than {MaxTextBytes - 1} bytes, or no zero at its end.");
    }

    /// <summary>Refuses a pointer that is null or not aligned as its type needs.</summary>
    public static void RequirePointer(void* pointer, int alignment, string name)
    {
        if (pointer == null)
            throw new ArgumentNullException(null, $"{name} is NULL.");
        if ((nuint)pointer % (nuint)alignment != 0)
            throw new ArgumentException($"{name} must be aligned to {alignment} bytes but is 0x{(nuint)pointer:x}.");
    }

    /// <summary>Where a handle will be written: NULL until then.</summary>
    public static void ClearHandle(nint* handle, string name)
    {
        RequirePointer(handle, sizeof(nint), name);
        *handle = 0;
    }

    /// <summary>A struct of the caller's, whose first field is its size; fields that a later header added are left alone.</summary>
    public static ref T Struct<T>(T* pointer, string name) where T : unmanaged
    {
        RequirePointer(pointer, 8, name);
        uint size = *(uint*)pointer;
        if (size < (uint)sizeof(T))
            throw new ArgumentException($"{name}.struct_size must be at least {sizeof(T)} but is {size}.");
        return ref *pointer;
    }

    /// <summary>Bytes from one struct of an array of the caller's to the next: all of them have the size that the first one says.</summary>
    public static int ArraySize<T>(T* pointer, int count, string name) where T : unmanaged
    {
        _ = ref Struct(pointer, name);
        uint size = *(uint*)pointer;
        if (size > MaxStructBytes || size % 8 != 0)
            throw new ArgumentException($"{name}[0].struct_size must be a multiple of 8 and at most {MaxStructBytes} but is {size}.");
        for (int i = 1; i < count; i++)
        {
            if (*(uint*)((byte*)pointer + i * size) is var other && other != size)
                throw new ArgumentException($"{name}[{i}].struct_size must be {size}, as that of {name}[0], but is {other}.");
        }
        return (int)size;
    }

    /// <summary>Elements of the caller's.</summary>
    public static Span<T> Elements<T>(T* pointer, long count, string name) where T : unmanaged
    {
        if (count is < 0 or > int.MaxValue)
            throw new ArgumentOutOfRangeException(null, $"The number of elements of {name} must be 0 to {int.MaxValue} but is {count}.");
        if (count == 0)
            return [];
        RequirePointer(pointer, sizeof(T), name);
        return new Span<T>(pointer, (int)count);
    }

    /// <summary>Writes UTF-8 that ends with a zero, cut where the space ends.</summary>
    public static void Write(string text, byte* target, int bytes)
    {
        _ = Utf8.FromUtf16(text, new Span<byte>(target, bytes - 1), out _, out int written);
        target[written] = 0;
    }

    /// <summary>A data type by its number.</summary>
    public static DataType Type(int type, string name) => (uint)type <= (uint)DataType.UInt16
        ? (DataType)type
        : throw new ArgumentOutOfRangeException(null, $"{name} has type {type}; types are 0 to {(int)DataType.UInt16}.");
}
