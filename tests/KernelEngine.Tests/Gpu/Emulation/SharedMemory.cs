namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The shared memory of one block. It starts at an address that is not zero, as behind the part a device keeps to itself, and holds NaN
/// patterns until it is written.
/// </summary>
internal sealed class SharedMemory
{
    /// <summary>The address of the first byte.</summary>
    public const int Base = 1024;

    private readonly byte[] _bytes;

    public SharedMemory(int size)
    {
        _bytes = new byte[size];
        Array.Fill(_bytes, byte.MaxValue);
    }

    public int Size => _bytes.Length;

    public bool Contains(ulong address, int bytes) => address >= Base && address - Base + (ulong)bytes <= (ulong)_bytes.Length;

    /// <summary>The bytes at an address that has been checked.</summary>
    public Span<byte> At(ulong address, int bytes) => _bytes.AsSpan((int)(address - Base), bytes);
}
