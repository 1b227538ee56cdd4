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
        MethodInfo? method = Find(typeof(LibraryExports), text) ?? Find(typeof(DeviceExports), text) ?? Find(typeof(ProblemExports), text)
            ?? Find(typeof(TensorExports), text) ?? Find(typeof(CacheExports), text) ?? Find(typeof(RunnerExports), text);
        return method?.MethodHandle.GetFunctionPointer() ?? 0;
    }

    private static MethodInfo? Find([DynamicallyAccessedMembers(Methods)] Type type, string name) => Array.Find(
        type.GetMethods(BindingFlags.Public | BindingFlags.Static),
        method => method.GetCustomAttribute<UnmanagedCallersOnlyAttribute>()?.EntryPoint == name);
}
