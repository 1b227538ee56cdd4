using System.Reflection;
using System.Runtime.InteropServices;

namespace KernelEngine.Native;

/// <summary>Version, errors and log: what belongs to the library as a whole.</summary>
internal static unsafe class LibraryExports
{
    // Grows when a function or a struct changes in a way that an old program would notice.
    private const int AbiVersion = 1;

    private static readonly byte* s_version = (byte*)Marshal.StringToCoTaskMemUTF8(
        typeof(Device).Assembly.GetName().Version is { } version ? version.ToString(3) : "");

    [UnmanagedCallersOnly(EntryPoint = "ke_abi_version")]
    public static int GetAbiVersion() => AbiVersion;

    [UnmanagedCallersOnly(EntryPoint = "ke_version")]
    public static byte* GetVersion() => s_version;

    [UnmanagedCallersOnly(EntryPoint = "ke_last_error_message")]
    public static byte* GetLastErrorMessage() => Failure.Message;

    [UnmanagedCallersOnly(EntryPoint = "ke_set_log_callback")]
    public static Status SetLogCallback(delegate* unmanaged<int, byte*, void*, void> callback, void* user)
    {
        if (ForkGuard.IsInChild)
            return Failure.ReportFork();
        try
        {
            Log.SetCallback(callback, user);
            return Status.Ok;
        }
        catch (Exception e)
        {
            return Failure.Report(e);
        }
    }
}
