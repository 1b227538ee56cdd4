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

    /// <summary>Launches code that makes codes of pages, or pages of codes; a thread for each of <paramref name="items"/>.</summary>
    public static void Launch<T>(
        GpuEntry<QuantizePages.Parameters<T>> entry, in KvCacheQuantizeProblem problem, ReadOnlySpan<GpuView> operands, long items,
        GpuDevice device) where T : unmanaged =>
        device.Launch(entry, (items + QuantizePages.Threads - 1) / QuantizePages.Threads, new QuantizePages.Parameters<T>
        {
            Key = operands[KvCacheQuantizeProblem.Key].AsTokens<T>(),
            Value = operands[KvCacheQuantizeProblem.Value].AsTokens<T>(),
            SourcePages = operands[KvCacheQuantizeProblem.SourcePages].As<int>(),
            TargetPages = operands[KvCacheQuantizeProblem.TargetPages].As<int>(),
            Codes = Create(operands, KvCacheQuantizeProblem.KeyCodes, problem.Bits),
            Items = items,
            PageSize = problem.PageSize,
            HeadDim = problem.HeadDim,
            ValueHeadDim = problem.ValueHeadDim,
        });
}
