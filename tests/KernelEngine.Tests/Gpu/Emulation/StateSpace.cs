namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Where an address points.</summary>
internal enum StateSpace
{
    Generic,
    Global,
    Shared,
    Local,
    Parameter,
}

/// <summary>Finds the bytes of an access, or faults.</summary>
internal static class StateSpaces
{
    // No memory of a process lies so high, so the windows hide nothing.
    /// <summary>Where generic addresses show shared memory.</summary>
    public const ulong SharedWindow = 0x0100_0000_0000_0000;

    /// <summary>Where generic addresses show local memory.</summary>
    public const ulong LocalWindow = 0x0200_0000_0000_0000;

    /// <summary>Where generic addresses show parameters.</summary>
    public const ulong ParameterWindow = 0x0300_0000_0000_0000;

    private const ulong WindowSize = 1UL << 32;

    /// <summary>The space a generic address points into, and the address there.</summary>
    public static (StateSpace Space, ulong Address) Specific(StateSpace space, ulong address)
    {
        if (space != StateSpace.Generic)
            return (space, address);
        if (address - SharedWindow < WindowSize)
            return (StateSpace.Shared, address - SharedWindow);
        if (address - ParameterWindow < WindowSize)
            return (StateSpace.Parameter, address - ParameterWindow);
        return address - LocalWindow < WindowSize ? (StateSpace.Local, address - LocalWindow) : (StateSpace.Global, address);
    }

    /// <summary>The bytes of an access within a space that is not generic.</summary>
    public static Span<byte> Bytes(Warp warp, PtxInstruction instruction, int lane, StateSpace space, ulong address, int bytes, int alignment)
    {
        if (address % (ulong)alignment != 0)
            throw warp.Fault(instruction, lane, $"address 0x{address:X} is not a multiple of {alignment}", address);
        Block block = warp.Block;
        switch (space)
        {
            case StateSpace.Global:
                if (block.Launch.Gpu.Memory.TryGet(address, bytes, out Span<byte> found))
                    return found;
                throw warp.Fault(instruction, lane,
                    $"{bytes} bytes of global memory at 0x{address:X}, {block.Launch.Gpu.Memory.Describe(address)}", address);
            case StateSpace.Shared:
                if (block.Shared.Contains(address, bytes))
                    return block.Shared.At(address, bytes);
                throw warp.Fault(instruction, lane,
                    $"{bytes} bytes of shared memory at 0x{address:X}, which has {block.Shared.Size} bytes from 0x{SharedMemory.Base:X}", address);
            default:
                Span<byte> all = space == StateSpace.Local ? block.Local(warp.Index * Warp.Lanes + lane) : block.Launch.Parameters;
                if (address + (ulong)bytes <= (ulong)all.Length && address <= (ulong)all.Length)
                    return all.Slice((int)address, bytes);
                throw warp.Fault(instruction, lane, $"{bytes} bytes at 0x{address:X} of {all.Length} bytes of {space} memory", address);
        }
    }
}
