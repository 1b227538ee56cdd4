using Microsoft.Win32.SafeHandles;

namespace KernelEngine.Models.Formats;

/// <summary>
/// The bytes of a model file, read piece by piece at given offsets. A file is never mapped: another process may truncate it
/// at any time, which must be an error and not a fault.
/// </summary>
public sealed class ByteSource : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly ReadOnlyMemory<byte> _memory;

    private ByteSource(string name, SafeFileHandle? file, ReadOnlyMemory<byte> memory, long length) =>
        (Name, _file, _memory, Length) = (name, file, memory, length);

    /// <summary>The path, or what the caller calls the memory: messages begin with it.</summary>
    public string Name { get; }

    /// <summary>Bytes when it was opened.</summary>
    public long Length { get; }

    /// <summary>Opens a file for reading.</summary>
    /// <exception cref="IOException">There is no such file, or it cannot be opened.</exception>
    public static ByteSource Open(string path)
    {
        SafeFileHandle file = File.OpenHandle(path);
        try
        {
            return new ByteSource(path, file, default, RandomAccess.GetLength(file));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Reads from memory under the name that messages shall give it.</summary>
    public static ByteSource FromMemory(string name, ReadOnlyMemory<byte> memory) => new(name, null, memory, memory.Length);

    /// <summary>Fills <paramref name="target"/> with the bytes from <paramref name="offset"/> on.</summary>
    /// <exception cref="ModelFormatException">They are not all there.</exception>
    public void Read(long offset, Span<byte> target)
    {
        if (offset < 0 || offset > Length - target.Length)
        {
            throw new ModelFormatException(
                Name, $"Bytes {offset} to {offset + target.Length} lie outside the file of {Length} bytes.");
        }
        if (_file is null)
        {
            _memory.Span.Slice((int)offset, target.Length).CopyTo(target);
            return;
        }
        while (target.Length > 0)
        {
            int count = RandomAccess.Read(_file, target, offset);
            if (count == 0)
                throw new ModelFormatException(Name, $"The file ends at byte {offset}: it was cut off while it was read.");
            target = target[count..];
            offset += count;
        }
    }

    /// <summary>The whole content, for files that are text.</summary>
    /// <exception cref="ModelFormatException">There are more than <paramref name="maxBytes"/> bytes.</exception>
    public byte[] ReadAll(int maxBytes)
    {
        if (Length > maxBytes)
            throw new ModelFormatException(Name, $"The file may have at most {maxBytes} bytes but has {Length}.");
        var bytes = new byte[Length];
        Read(0, bytes);
        return bytes;
    }

    /// <summary>Closes the file. Safe to call twice.</summary>
    public void Dispose() => _file?.Dispose();
}
