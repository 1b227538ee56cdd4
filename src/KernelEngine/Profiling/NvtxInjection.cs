using System.Runtime.InteropServices;
using System.Text;

namespace KernelEngine;

/// <summary>
/// NVTX's way from a program to a profiler, without a library of its own: the profiler names its library in the environment; the
/// library's entry asks for a table of places for functions, and puts its own there.
/// </summary>
internal static unsafe class NvtxInjection
{
    // The protocol's numbers: tables, the module of plain ranges, places in it.
    private const uint CallbackTable = 1, VersionTable = 3, CoreModule = 1, Version = 3;
    private const int RangePushAscii = 9, RangePop = 11, Places = 16;

    // For the life of the process, since the profiler keeps the addresses.
    private static readonly nint* s_functions = Allocate(Places);
    private static readonly nint* s_places = AllocatePlaces();
    private static readonly nint* s_callbacks = AllocateCallbacks();
    private static readonly nint* s_version = AllocateVersion();

    /// <summary>Loads a profiler's library; false where there is none, or it takes no ranges.</summary>
    public static bool Connect(string? libraryPath) =>
        !string.IsNullOrEmpty(libraryPath) && NativeLibrary.TryLoad(libraryPath, out nint library)
        && NativeLibrary.TryGetExport(library, "InitializeInjectionNvtx2", out nint initialize)
        && Connect((delegate* unmanaged<delegate* unmanaged<uint, void*>, int>)initialize);

    /// <summary>Offers the places to a profiler's entry; false where it leaves those of ranges empty.</summary>
    internal static bool Connect(delegate* unmanaged<delegate* unmanaged<uint, void*>, int> initialize) =>
        initialize(&GetExportTable) != 0 && s_functions[RangePushAscii] != 0 && s_functions[RangePop] != 0;

    /// <summary>Opens a range of the calling thread.</summary>
    public static void Push(string name)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            _ = ((delegate* unmanaged<byte*, int>)s_functions[RangePushAscii])(text);
    }

    /// <summary>Closes the range that the thread opened last.</summary>
    public static void Pop() => _ = ((delegate* unmanaged<int>)s_functions[RangePop])();

    [UnmanagedCallersOnly]
    private static void* GetExportTable(uint table) => table switch
    {
        CallbackTable => s_callbacks,
        VersionTable => s_version,
        _ => null,
    };

    [UnmanagedCallersOnly]
    private static int GetModuleFunctionTable(uint module, nint** places, uint* count)
    {
        if (module != CoreModule)
            return 0;
        if (places != null)
            *places = s_places;
        if (count != null)
            *count = Places;
        return 1;
    }

    [UnmanagedCallersOnly]
    private static void SetVersion(uint version)
    {
    }

    private static nint* Allocate(int words) => (nint*)NativeMemory.AllocZeroed((nuint)words, (nuint)sizeof(nint));

    // Addresses of the functions' places; the first is none, and after the last stands an end.
    private static nint* AllocatePlaces()
    {
        nint* places = Allocate(Places + 1);
        for (int i = 1; i < Places; i++)
            places[i] = (nint)(s_functions + i);
        return places;
    }

    // The table's bytes, then the function that gives a module's places.
    private static nint* AllocateCallbacks()
    {
        nint* table = Allocate(2);
        table[0] = 2 * sizeof(nint);
        table[1] = (nint)(delegate* unmanaged<uint, nint**, uint*, int>)&GetModuleFunctionTable;
        return table;
    }

    // The table's bytes, the version in the low half of a word, and a function that learns of the profiler's version.
    private static nint* AllocateVersion()
    {
        nint* table = Allocate(3);
        table[0] = 3 * sizeof(nint);
        *(uint*)(table + 1) = Version;
        table[2] = (nint)(delegate* unmanaged<uint, void>)&SetVersion;
        return table;
    }
}
