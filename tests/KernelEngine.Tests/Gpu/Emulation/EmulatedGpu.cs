using System.Runtime.InteropServices;

namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// A device that executes PTX text on the CPU, slowly and pedantically: what a device might get away with is a fault here. The seed
/// decides the order in which warps take turns.
/// </summary>
internal sealed class EmulatedGpu(int seed = 0)
{
    /// <summary>Shared memory of a block that needs no special request.</summary>
    public const int MaxStaticSharedBytes = 48 << 10;

    /// <summary>Shared memory of a block, static and dynamic, on compute capability 9.0.</summary>
    public const int MaxSharedBytes = 227 << 10;

    /// <summary>Instructions of warps a launch may execute before it counts as endless.</summary>
    public long InstructionBudget { get; set; } = 1_000_000_000;

    /// <summary>Whether accesses to shared memory that no barrier orders are faults.</summary>
    public bool DetectsRaces { get; set; } = true;

    public GlobalMemory Memory { get; } = new();

    /// <summary>The tensor maps by the addresses they were registered at.</summary>
    public Dictionary<ulong, TensorMap> TensorMaps { get; } = [];

    /// <summary>Reserves device memory full of NaN patterns; returns its address.</summary>
    public ulong Allocate(long bytes, int alignment = 256) => Memory.Allocate(bytes, alignment);

    /// <summary>Reserves device memory and fills it.</summary>
    public ulong Allocate<T>(ReadOnlySpan<T> data, int alignment = 256)
        where T : unmanaged
    {
        ulong address = Allocate((long)data.Length * Marshal.SizeOf<T>(), alignment);
        Write(address, data);
        return address;
    }

    public void Write<T>(ulong address, ReadOnlySpan<T> data)
        where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(data);
        bytes.CopyTo(HostSpan(address, bytes.Length));
    }

    public void Read<T>(ulong address, Span<T> destination)
        where T : unmanaged
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(destination);
        HostSpan(address, bytes.Length).CopyTo(bytes);
    }

    /// <summary>
    /// Makes a tensor map of tiled mode and returns the address of its 128 bytes. The first eight of them are this address, which is all a
    /// copy of the map needs. Strides are those of dimensions 1 and up; the swizzle is 0, 32, 64 or 128 bytes.
    /// </summary>
    public ulong RegisterTensorMap(
        ulong address, int elementBytes, ReadOnlySpan<ulong> dims, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box, int swizzleBytes)
    {
        var map = new TensorMap(address, elementBytes, dims, byteStrides, box, swizzleBytes);
        ulong place = Allocate(TensorMap.Bytes, TensorMap.Bytes);
        TensorMaps.Add(place, map);
        Write<ulong>(place, [place]);
        return place;
    }

    /// <summary>Executes a kernel; parameters are the bytes of its parameter block.</summary>
    public LaunchStatistics Launch(PtxProgram program, int gridX, int gridY, int gridZ, int blockThreads, int dynamicSharedBytes,
        ReadOnlySpan<byte> parameters)
    {
        if (gridX < 1 || gridY < 1 || gridZ < 1 || gridY > 65535 || gridZ > 65535)
            throw new ArgumentOutOfRangeException(nameof(gridX), $"a grid of {gridX} x {gridY} x {gridZ} blocks");
        if (blockThreads < 1 || blockThreads > program.MaxThreads || program.IsThreadCountExact && blockThreads != program.MaxThreads)
            throw new ArgumentOutOfRangeException(nameof(blockThreads), $"{blockThreads} threads, but the kernel allows {program.MaxThreads}");
        if (program.StaticSharedBytes > MaxStaticSharedBytes)
            throw new ArgumentException($"{program.StaticSharedBytes} bytes of static shared memory", nameof(program));
        if (dynamicSharedBytes < 0 || program.DynamicSharedOffset + dynamicSharedBytes > MaxSharedBytes)
            throw new ArgumentOutOfRangeException(nameof(dynamicSharedBytes), $"{dynamicSharedBytes} bytes of dynamic shared memory");
        if (parameters.Length != program.ParameterBytes)
            throw new ArgumentException($"{parameters.Length} bytes of parameters, but the kernel has {program.ParameterBytes}", nameof(parameters));
        return new Launch(this, program, gridX, gridY, gridZ, blockThreads, dynamicSharedBytes, parameters.ToArray()).Run(new Random(seed));
    }

    private Span<byte> HostSpan(ulong address, int bytes) => Memory.TryGet(address, bytes, out Span<byte> span)
        ? span : throw new ArgumentOutOfRangeException(nameof(address), $"{bytes} bytes at 0x{address:X} {Memory.Describe(address)}");
}
