using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelEngine.Native;

/// <summary>
/// The door for programs that load .NET themselves (hostfxr): they get the functions of the header, GPU devices included, by name.
/// </summary>
internal static unsafe class HostExports
{
    private const DynamicallyAccessedMemberTypes Methods = DynamicallyAccessedMemberTypes.PublicMethods;

    /// <summary>The function of a name, as in <c>ke_run</c>; NULL for none.</summary>
    [UnmanagedCallersOnly]
    public static nint Find(byte* name)
    {
        string text = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
        MethodInfo? method = FindIn(typeof(LibraryExports), text) ?? FindIn(typeof(DeviceExports), text) ?? FindIn(typeof(ProblemExports), text)
            ?? FindIn(typeof(TensorExports), text) ?? FindIn(typeof(CacheExports), text) ?? FindIn(typeof(RunnerExports), text);
        return method?.MethodHandle.GetFunctionPointer() ?? 0;
    }

    private static MethodInfo? FindIn([DynamicallyAccessedMembers(Methods)] Type type, string name) => Array.Find(
        type.GetMethods(BindingFlags.Public | BindingFlags.Static),
        method => method.GetCustomAttribute<UnmanagedCallersOnlyAttribute>()?.EntryPoint == name);
}
