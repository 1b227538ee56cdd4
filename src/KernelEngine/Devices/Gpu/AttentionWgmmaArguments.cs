using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>What the kernels of attention on Hopper's tensor cores have in common.</summary>
internal static class AttentionWgmmaArguments
{
    /// <summary>Null where the kernels compute the problem's attention, else a sentence that says why not.</summary>
    public static string? WhyUnsupported(in AttentionProblem problem) =>
        !problem.IsPlain ? "computes plain and causal attention alone"
        : problem.Type == DataType.Float32 || problem.KvType != problem.Type ? "multiplies 16-bit queries with keys of the same type"
        : problem.HeadDim != problem.ValueHeadDim || problem.HeadDim is not (64 or 128) ? "computes head dimensions 64 and 128"
        : problem.QueryLength == 0 || problem.KvLength == 0 || problem.BatchSize == 0 || problem.NumHeads == 0 ? "needs rows and keys"
        : !(problem.Scale > 0) ? "needs a positive scale"
        : null;

    /// <summary>Whether the copy engine can move a tensor's rows: they begin on 16 bytes, at most 2^40 bytes apart.</summary>
    public static bool CanCopy(GpuView view)
    {
        if (!view.HasRowsOf(8))
            return false;
        for (int i = 0; i < 3; i++)
        {
            if (view.Layout[i] > 1 && view.Layout.Stride(i) is < 1 or >= 1L << 39)
                return false;
        }
        return true;
    }

    /// <summary>The map of a tensor [batchSize, tokens, heads, headDim], for boxes of so many tokens.</summary>
    public static TensorMap Map(GpuDevice device, GpuView view, int rows)
    {
        TensorLayout layout = view.Layout;
        // Innermost first: element, head, token, sequence. The stride of a dimension of one element says nothing.
        Span<ulong> strides = stackalloc ulong[3];
        for (int i = 0; i < 3; i++)
            strides[i] = 2 * (ulong)(layout[i] > 1 ? layout.Stride(i) : layout[3]);
        return device.EncodeTensorMap(
            view.Address, view.Type, [(ulong)layout[3], (ulong)layout[2], (ulong)layout[1], (ulong)layout[0]],
            [strides[2], strides[1], strides[0]], [SlabTiles.Columns, 1, (uint)rows, 1]);
    }
}
