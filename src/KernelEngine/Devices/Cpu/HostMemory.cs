using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// Aligned host memory. Blocks of 2 MiB and more begin on a 2 MiB boundary and are advised for huge pages, which is worth
/// a tenth to a third of the read bandwidth of large weights and caches.
/// </summary>
internal static unsafe partial class HostMemory
{
    private const nuint HugePage = 2 << 20;
    private const int AdviseHugePage = 14; // MADV_HUGEPAGE

    /// <summary>Allocates memory, 64-byte aligned at the least.</summary>
    /// <param name="bytes">How many.</param>
    /// <param name="isZeroed">False for contents left undefined: pages that nobody touches then take no memory.</param>
    /// <exception cref="OutOfMemoryException">The system has not that much.</exception>
    public static byte* Allocate(long bytes, bool isZeroed = true)
    {
        nuint size = checked((nuint)Math.Max(bytes, 1));
        bool isLarge = size >= HugePage;
        if (isLarge)
            size = checked((size + HugePage - 1) / HugePage * HugePage);
        byte* address = (byte*)NativeMemory.AlignedAlloc(size, isLarge ? HugePage : 64);
        if (isLarge && OperatingSystem.IsLinux())
            _ = Advise(address, size, AdviseHugePage); // advice: a kernel without huge pages ignores it
        if (isZeroed)
            NativeMemory.Clear(address, size);
        return address;
    }

    /// <summary>Frees what <see cref="Allocate"/> returned.</summary>
    public static void Free(void* address) => NativeMemory.AlignedFree(address);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
