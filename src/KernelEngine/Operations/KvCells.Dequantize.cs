using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Pages of codes made floating-point rows.</summary>
    public static Operation<KvCacheDequantizeProblem> DequantizeOperation { get; } = new(
        "kv-cache-dequantize", "whole pages of codes of 2, 4 or 8 bits back to keys and values",
        new KvCacheDequantizeReference("kv-cache-dequantize/reference", DeviceKinds.Reference),
        new KvCacheDequantizeReference("kv-cache-dequantize/plain", DeviceKinds.Cpu),
        new KvCacheDequantize<Simd512, Vector512<float>>(),
        new KvCacheDequantize<Simd256, Vector256<float>>(),
        new KvCacheDequantize<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheDequantizePages()] : [],
        Examples =
        [
            "pages=1 page=4 pool=1 codepool=1 d=8 bits=4", "pages=3 page=8 pool=5 codepool=4 d=40 dv=36 bits=2",
            "pages=2 page=32 pool=4 codepool=4 d=64 bits=4 bf16",
            "pages=2 page=5 pool=2 codepool=9 d=66 dv=96 bits=8 f16", "pages=0 page=4 pool=1 codepool=1 d=8 bits=2",
        ],
        Benchmarks =
        [
            "pages=2048 page=32 pool=2048 codepool=2048 d=128 bits=4 bf16", "pages=2048 page=32 pool=2048 codepool=2048 d=128 bits=2 bf16",
        ],
    };

    /// <summary>Writes what page sourcePages[i] of the codes stands for to page targetPages[i] of the pools.</summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="codes">The pools of codes; rows fill whole bytes.</param>
    /// <param name="sourcePages">i32 [pages]</param>
    /// <param name="targetPages">i32 [pages], all different</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a page is out of range.
    /// </exception>
    public static void Dequantize(TensorView key, TensorView value, in KvCodes codes, TensorView sourcePages, TensorView targetPages)
    {
        var problem = new KvCacheDequantizeProblem(CreateCodesProblem(key, value, codes, sourcePages));
        key.Storage!.Device.Run(DequantizeOperation, problem, [
            key, value, sourcePages, targetPages, codes.Key, codes.KeyScale, codes.KeyMinimum, codes.Value, codes.ValueScale,
            codes.ValueMinimum]);
    }
}
