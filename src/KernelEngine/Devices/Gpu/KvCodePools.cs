using KernelEngine.Kernels.Cpu.KvCache;
using KernelEngine.Kernels.Gpu.KvCache;

namespace KernelEngine;

/// <summary>The pools of codes among an operation's operands, as kernels see them.</summary>
internal static class KvCodePools
{
    /// <summary>Takes six operands from <paramref name="first"/> on.</summary>
    public static PageCodes Create(ReadOnlySpan<GpuView> operands, int first, int bits)
    {
        ReadOnlySpan<GpuView> pools = operands.Slice(first, CodePages.Count);
        return new PageCodes
        {
            Key = pools[CodePages.KeyCodes].As<sbyte>(),
            Value = pools[CodePages.ValueCodes].As<sbyte>(),
            KeyScale = pools[CodePages.KeyScale].As<ushort>(),
            KeyMinimum = pools[CodePages.KeyMinimum].As<ushort>(),
            ValueScale = pools[CodePages.ValueScale].As<ushort>(),
            ValueMinimum = pools[CodePages.ValueMinimum].As<ushort>(),
            KeyPageStride = pools[CodePages.KeyCodes].Layout.Stride(0),
            KeyRowStride = pools[CodePages.KeyCodes].Layout.Stride(1),
            ValuePageStride = pools[CodePages.ValueCodes].Layout.Stride(0),
            ValueRowStride = pools[CodePages.ValueCodes].Layout.Stride(1),
            KeyScaleStride = pools[CodePages.KeyScale].Layout.Stride(0),
            KeyMinimumStride = pools[CodePages.KeyMinimum].Layout.Stride(0),
            ValueScalePageStride = pools[CodePages.ValueScale].Layout.Stride(0),
            ValueScaleRowStride = pools[CodePages.ValueScale].Layout.Stride(1),
            ValueMinimumPageStride = pools[CodePages.ValueMinimum].Layout.Stride(0),
            ValueMinimumRowStride = pools[CodePages.ValueMinimum].Layout.Stride(1),
            Bits = bits,
        };
    }
}
