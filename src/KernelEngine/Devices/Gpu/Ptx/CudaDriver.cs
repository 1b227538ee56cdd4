using System.Runtime.InteropServices;
using System.Text;
using ILGPU.Runtime.Cuda;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>The driver's functions that ILGPU does not offer, and what the first device is.</summary>
internal static unsafe class CudaDriver
{
    private const int CapabilityMajor = 75, CapabilityMinor = 76; // the attributes' numbers

    private static readonly Lazy<IntPtr> s_library = new(() =>
        NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", out IntPtr library) ? library : IntPtr.Zero);

    private static readonly Lazy<int> s_capability = new(ReadCapability);

    [ThreadStatic]
    private static int s_emulatedCapability;

    /// <summary>Lets this thread take an emulator for a device of that compute capability, or, with 0, not any more.</summary>
    internal static void Emulate(int capability) => s_emulatedCapability = capability;

    /// <summary>Null where code for <paramref name="target"/> runs on the first device, else a sentence that says what is missing.</summary>
    public static string? WhyCannotRun(PtxTarget target) =>
        Capability == 0 ? "needs an NVIDIA GPU, and there is none"
        : target.RunsOn(Capability) ? null
        : $"is written for {target}; the GPU has compute capability {Capability / 10}.{Capability % 10}";

    /// <summary>cuProfilerStart or cuProfilerStop. The status tells whether a profiler listens, which is none of our business.</summary>
    public static void SetProfiling(bool isOn)
    {
        if (s_library.Value != IntPtr.Zero && NativeLibrary.TryGetExport(s_library.Value, isOn ? "cuProfilerStart" : "cuProfilerStop", out IntPtr function))
            _ = ((delegate* unmanaged<CudaError>)function)();
    }

    /// <summary>cuFuncSetAttribute.</summary>
    public static CudaError SetFunctionAttribute(IntPtr function, int attribute, int value) =>
        ((delegate* unmanaged<IntPtr, int, int, CudaError>)Export("cuFuncSetAttribute"))(function, attribute, value);

    /// <summary>cuModuleLoadDataEx, with what the assembler says; the machine code keeps the text's lines of source.</summary>
    public static CudaError LoadModuleWithLines(string text, out IntPtr module, out string log)
    {
        const int ErrorLog = 5, ErrorLogBytes = 6, GenerateLineInfo = 13, LogBytes = 4096; // the options' numbers
        byte* errors = stackalloc byte[LogBytes];
        errors[0] = 0;
        int* options = stackalloc int[] { ErrorLog, ErrorLogBytes, GenerateLineInfo };
        void** values = stackalloc void*[] { errors, (void*)LogBytes, (void*)1 };
        IntPtr loaded = IntPtr.Zero;
        CudaError error;
        fixed (byte* image = Encoding.UTF8.GetBytes(text + '\0'))
        {
            error = ((delegate* unmanaged<IntPtr*, void*, uint, int*, void**, CudaError>)Export("cuModuleLoadDataEx"))(
                &loaded, image, 3, options, values);
        }
        module = loaded;
        log = Marshal.PtrToStringUTF8((IntPtr)errors)!;
        return error;
    }

    /// <inheritdoc cref="ICudaExecutor.EncodeTensorMap"/>
    public static TensorMap EncodeTensorMap(
        long address, DataType type, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box)
    {
        const int Float16 = 6, BFloat16 = 9, NoInterleave = 0, Swizzle128 = 3, Promote256 = 3, FillZero = 0;
        // The map must lie on 64 bytes while the driver writes it.
        byte* memory = stackalloc byte[TensorMap.Size + 64];
        var map = (TensorMap*)(((nint)memory + 63) & ~63);
        uint* steps = stackalloc uint[] { 1, 1, 1, 1, 1 };
        fixed (ulong* sizesPointer = sizes, stridesPointer = byteStrides)
        fixed (uint* boxPointer = box)
        {
            var encode = (delegate* unmanaged<TensorMap*, int, uint, long, ulong*, ulong*, uint*, uint*, int, int, int, int, CudaError>)
                Export("cuTensorMapEncodeTiled");
            CudaError error = encode(
                map, type == DataType.BFloat16 ? BFloat16 : Float16, (uint)sizes.Length, address, sizesPointer, stridesPointer, boxPointer,
                steps, NoInterleave, Swizzle128, Promote256, FillZero);
            return error == CudaError.CUDA_SUCCESS ? *map
                : throw new InvalidOperationException($"The driver refuses a tensor map: {error}.");
        }
    }

    private static int Capability => s_emulatedCapability != 0 ? s_emulatedCapability : s_capability.Value;

    private static IntPtr Export(string name) => NativeLibrary.GetExport(s_library.Value, name);

    private static int ReadCapability()
    {
        if (s_library.Value == IntPtr.Zero)
            return 0;
        var initialize = (delegate* unmanaged<uint, CudaError>)Export("cuInit");
        var getAttribute = (delegate* unmanaged<int*, int, int, CudaError>)Export("cuDeviceGetAttribute");
        int major, minor;
        return initialize(0) == CudaError.CUDA_SUCCESS && getAttribute(&major, CapabilityMajor, 0) == CudaError.CUDA_SUCCESS
            && getAttribute(&minor, CapabilityMinor, 0) == CudaError.CUDA_SUCCESS ? 10 * major + minor : 0;
    }
}
