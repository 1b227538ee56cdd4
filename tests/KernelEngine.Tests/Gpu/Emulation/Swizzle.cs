namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>
/// The swizzles tensor copies and warpgroup products share: the bits of a shared-memory address from 4 on, that choose a 16-byte chunk
/// within the swizzle's width, are xored with the bits from 7 on, that count lines of 128 bytes.
/// </summary>
internal static class Swizzle
{
    /// <summary>The bits of the line's number that take part: 7 for 128 bytes, 3 for 64, 1 for 32.</summary>
    public static ulong LineMask(int swizzleBytes) => swizzleBytes == 0 ? 0 : (ulong)(swizzleBytes / 16 - 1);

    /// <summary>The address after the swizzle; lines are counted from a line with the number <paramref name="firstLine"/>.</summary>
    public static ulong Apply(ulong address, int swizzleBytes, ulong firstLine = 0) =>
        address ^ ((address >> 7) - firstLine & LineMask(swizzleBytes)) << 4;
}
