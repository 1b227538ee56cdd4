using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace KernelEngine.Benchmarks.Peers;

/// <summary>Loads libtorch once and says why it cannot be used where it cannot.</summary>
internal static unsafe partial class TorchLibrary
{
    private static readonly Lock Gate = new();
    private static bool _isTried;
    private static string? _whyUnavailable;

    /// <summary>Version of the wrapper and of libtorch.</summary>
    public static string Version =>
        $"TorchSharp {typeof(torch).Assembly.GetName().Version?.ToString(3)} (libtorch {torch.__version__})";

    /// <summary>Loads the library; null, or the reason why it does not load.</summary>
    public static string? Load(int threads)
    {
        lock (Gate)
        {
            if (_isTried)
                return _whyUnavailable;
            _isTried = true;
            try
            {
                // Environment.SetEnvironmentVariable does not reach native code, and OpenMP reads this when it is loaded.
                if (OperatingSystem.IsLinux())
                    _ = SetEnvironment("OMP_NUM_THREADS", threads.ToString(System.Globalization.CultureInfo.InvariantCulture), 1);
                _whyUnavailable = FindMissingSymbolVersion();
                if (_whyUnavailable is not null)
                    return _whyUnavailable;
                torch.InitializeDeviceType(DeviceType.CPU);
                using torch.Tensor probe = torch.zeros(1);
            }
#pragma warning disable CA1031 // whatever keeps a peer from loading is the reason its rows show
            catch (Exception e)
#pragma warning restore CA1031
            {
                _whyUnavailable = "libtorch does not load: " + e.Message.Split('\n')[0].Trim();
            }
            return _whyUnavailable;
        }
    }

    /// <summary>A tensor on memory that stays the caller's.</summary>
    public static torch.Tensor Borrow(HostBuffer buffer, params ReadOnlySpan<long> shape)
    {
        torch.ScalarType type = ToScalarType(buffer.Type);
        fixed (long* lengths = shape)
        {
            IntPtr handle = NewTensor(buffer.Address, &KeepMemory, lengths, shape.Length, (sbyte)type, (sbyte)type, 0, -1, 0);
            torch.CheckForErrors();
            return torch.Tensor.UnsafeCreateTensor(handle);
        }
    }

    public static torch.ScalarType ToScalarType(DataType type) => type switch
    {
        DataType.Float16 => torch.ScalarType.Float16,
        DataType.BFloat16 => torch.ScalarType.BFloat16,
        DataType.Int32 => torch.ScalarType.Int32,
        _ => torch.ScalarType.Float32,
    };

    // The wrapper prints its search and hides the loader's message: loading the file itself first shows what is missing.
    private static string? FindMissingSymbolVersion()
    {
        string file = Path.Combine(
            AppContext.BaseDirectory, "runtimes", RuntimeInformation.RuntimeIdentifier, "native", "libLibTorchSharp.so");
        if (!File.Exists(file))
            return null;
        try
        {
            _ = NativeLibrary.Load(file); // stays loaded: the wrapper loads the same file
            return null;
        }
        catch (DllNotFoundException e)
        {
            int begin = e.Message.IndexOf("version `GLIBC", StringComparison.Ordinal);
            return begin < 0
                ? null
                : $"this system's C++ library is too old for libtorch: {e.Message[begin..].Split('(', '\n')[0].Trim()}";
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void KeepMemory(void* data)
    {
    }

    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_new")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories | DllImportSearchPath.AssemblyDirectory)]
    private static partial IntPtr NewTensor(
        void* data, delegate* unmanaged[Cdecl]<void*, void> deleter, long* sizes, int rank, sbyte scalarType, sbyte type,
        int deviceType, int deviceIndex, byte requiresGrad);

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetEnvironment(string name, string value, int overwrite);
}
