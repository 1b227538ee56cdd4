using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>
/// Knows a forked child, in which the library's threads do not exist: a page that the system hands to children zeroed. Asking costs
/// one read and no system call.
/// </summary>
internal static unsafe partial class ForkGuard
{
    private const int ReadWrite = 3, PrivateAnonymous = 0x22, WipeOnFork = 18; // PROT_, MAP_, MADV_ of Linux
    private const nuint PageBytes = 4096;

    private static readonly byte* s_page = Map();

    public static bool IsInChild => *s_page == 0;

    private static byte* Map()
    {
        if (OperatingSystem.IsLinux())
        {
            byte* page = (byte*)MapMemory(null, PageBytes, ReadWrite, PrivateAnonymous, -1, 0);
            if ((nint)page != -1 && Advise(page, PageBytes, WipeOnFork) == 0)
            {
                *page = 1;
                return page;
            }
        }
        byte* plain = (byte*)NativeMemory.Alloc(1); // where the system cannot tell, children are not known
        *plain = 1;
        return plain;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* MapMemory(void* address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Advise(void* address, nuint length, int advice);
}
