using System.Runtime.Intrinsics;
using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

public static partial class KvCells
{
    /// <summary>Pages of floating-point rows made codes.</summary>
    public static Operation<KvCacheQuantizeProblem> QuantizeOperation { get; } = new(
        "kv-cache-quantize", "whole pages of keys, by channel, and values, by token, to codes of 2, 4 or 8 bits",
        new KvCacheQuantizeReference("kv-cache-quantize/reference", DeviceKinds.Reference),
        new KvCacheQuantizeReference("kv-cache-quantize/plain", DeviceKinds.Cpu),
        new KvCacheQuantize<Simd512, Vector512<float>>(),
        new KvCacheQuantize<Simd256, Vector256<float>>(),
        new KvCacheQuantize<Simd128, Vector128<float>>())
    {
        GpuKernels = GpuDevices.AreIncluded ? [new KvCacheQuantizePages()] : [],
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

    /// <summary>Writes the codes of page sourcePages[i] of the pools to page targetPages[i] of the codes.</summary>
    /// <param name="key">[poolPages, pageSize, 1, headDim]</param>
    /// <param name="value">[poolPages, pageSize, 1, valueHeadDim]</param>
    /// <param name="codes">The pools of codes; rows fill whole bytes.</param>
    /// <param name="sourcePages">i32 [pages]</param>
    /// <param name="targetPages">i32 [pages], all different</param>
    /// <exception cref="ArgumentException">
    /// Shapes, types or devices do not fit one another, or, on the host's devices, a page is out of range.
    /// </exception>
    public static void Quantize(TensorView key, TensorView value, in KvCodes codes, TensorView sourcePages, TensorView targetPages)
    {
        KvCacheQuantizeProblem problem = CreateCodesProblem(key, value, codes, sourcePages);
        key.Storage!.Device.Run(QuantizeOperation, problem, [
            key, value, sourcePages, targetPages, codes.Key, codes.KeyScale, codes.KeyMinimum, codes.Value, codes.ValueScale,
            codes.ValueMinimum]);
    }

    private static KvCacheQuantizeProblem CreateCodesProblem(TensorView key, TensorView value, in KvCodes codes, TensorView sourcePages)
    {
        Shapes.RequireRank(key, 4, nameof(key));
        Shapes.RequireRank(value, 4, nameof(value));
        Shapes.RequireRank(sourcePages, 1, nameof(sourcePages));
        int bits = codes.BitsOf(key[3], nameof(codes));
        return new KvCacheQuantizeProblem(
            Shapes.Size(sourcePages, 0, nameof(sourcePages)), Shapes.Size(key, 1, nameof(key)), Shapes.Size(key, 0, nameof(key)),
            Shapes.Size(codes.Key, 0, nameof(codes)), Shapes.Size(key, 3, nameof(key)), Shapes.Size(value, 3, nameof(value)), bits,
            key.Type);
    }
}
