using System.Runtime.InteropServices;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>
/// Memory that every contender reads where it lies, so that pages, alignment and cache state are the same for all. Large
/// buffers begin on a 2 MiB boundary and are advised for huge pages.
/// </summary>
public sealed unsafe partial class HostBuffer : IDisposable
{
    private const nuint HugePage = 2 << 20;
    private const int AdviseHugePage = 14; // MADV_HUGEPAGE

    public HostBuffer(DataType type, long count)
    {
        (Type, Count) = (type, count);
        nuint size = ((nuint)Math.Max(Bytes, 1) + HugePage - 1) / HugePage * HugePage;
        Address = (byte*)NativeMemory.AlignedAlloc(size, HugePage);
        if (OperatingSystem.IsLinux())
            _ = Advise(Address, size, AdviseHugePage);
        NativeMemory.Clear(Address, size);
    }

    public DataType Type { get; }

    public long Count { get; }

    public long Bytes => Count * Type.SizeInBytes();

    public byte* Address { get; private set; }

    /// <summary>Random numbers close to a standard normal distribution: the scaled sum of four uniform ones.</summary>
    public static HostBuffer Random(DataType type, long count, ulong seed)
    {
        var buffer = new HostBuffer(type, count);
        var random = new NormalRandom(seed);
        for (long i = 0; i < count; i++)
            buffer.Write(i, random.Next());
        return buffer;
    }

    public static HostBuffer From(DataType type, ReadOnlySpan<float> values)
    {
        var buffer = new HostBuffer(type, values.Length);
        buffer.CopyFrom(0, values);
        return buffer;
    }

    public float[] ToSingles()
    {
        var values = new float[Count];
        CopyTo(values);
        return values;
    }

    /// <summary>Widens all elements to the front of <paramref name="values"/>.</summary>
    public void CopyTo(Span<float> values)
    {
        for (int i = 0; i < Count; i++)
            values[i] = Read(i);
    }

    /// <summary>Writes <paramref name="values"/> from element <paramref name="target"/> on.</summary>
    public void CopyFrom(long target, ReadOnlySpan<float> values)
    {
        for (int i = 0; i < values.Length; i++)
            Write(target + i, values[i]);
    }

    public ReadOnlySpan<byte> AsBytes() => new(Address, checked((int)Bytes));

    public void CopyFrom(long target, HostBuffer source, long start, long count) =>
        Buffer.MemoryCopy(
            source.Address + start * Type.SizeInBytes(), Address + target * Type.SizeInBytes(),
            (Count - target) * Type.SizeInBytes(),
            count * Type.SizeInBytes());

    public void Dispose()
    {
        NativeMemory.AlignedFree(Address);
        Address = null;
    }

    private float Read(long index) => Type switch
    {
        DataType.Float32 => ((float*)Address)[index],
        DataType.Float16 => (float)((Half*)Address)[index],
        DataType.BFloat16 => ((BFloat16*)Address)[index].ToSingle(),
        DataType.Int8 => ((sbyte*)Address)[index],
        _ => ((int*)Address)[index],
    };

    private void Write(long index, float value)
    {
        switch (Type)
        {
            case DataType.Float32:
                ((float*)Address)[index] = value;
                break;
            case DataType.Float16:
                ((Half*)Address)[index] = (Half)value;
                break;
            case DataType.BFloat16:
                ((BFloat16*)Address)[index] = BFloat16.FromSingle(value);
                break;
            case DataType.Int8:
                ((sbyte*)Address)[index] = (sbyte)MathF.Round(value);
                break;
            default:
                ((int*)Address)[index] = (int)value;
                break;
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
