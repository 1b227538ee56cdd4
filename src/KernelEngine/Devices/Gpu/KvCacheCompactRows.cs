using System.Numerics;
using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;

namespace KernelEngine;

/// <summary>Launches <see cref="MoveRows"/> for keys, values and scales.</summary>
internal sealed class KvCacheCompactRows() : GpuKernel<KvCacheCompactProblem>("kv-cache-compact/ilgpu")
{
    private readonly GpuEntry<MoveRows.Parameters<int>> _words = new(MoveRows.MoveKeptRows<int>, MoveRows.Threads, 0, hasQuadLoads: false);
    private readonly GpuEntry<MoveRows.Parameters<sbyte>> _bytes = new(
        MoveRows.MoveKeptRows<sbyte>, MoveRows.Threads, 0, hasQuadLoads: false);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [_words, _bytes];

    /// <inheritdoc/>
    public override void Launch(
        in KvCacheCompactProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        foreach (int pool in (ReadOnlySpan<int>)[KvCacheCompactProblem.Key, KvCacheCompactProblem.Value])
        {
            GpuView rows = operands[pool];
            if (rows.HasRowsOf(sizeof(int) / rows.Type.SizeInBytes()))
                Move(_words, problem, operands, rows, rows.Layout.Stride(1), rows.Layout[3], device);
            else
                Move(_bytes, problem, operands, rows, rows.Layout.Stride(1), rows.Layout[3], device);
        }
        foreach (int scale in (ReadOnlySpan<int>)[KvCacheCompactProblem.KeyScale, KvCacheCompactProblem.ValueScale])
        {
            if (operands[scale].IsPresent)
                Move(_words, problem, operands, operands[scale], 1, 1, device);
        }
    }

    private static unsafe void Move<T>(
        GpuEntry<MoveRows.Parameters<T>> entry, in KvCacheCompactProblem problem, ReadOnlySpan<GpuView> operands, GpuView view,
        long rowStride, long row, GpuDevice device) where T : unmanaged
    {
        // Sizes and strides in elements of the view become those in words or bytes.
        long words = row * view.Type.SizeInBytes() / sizeof(T);
        int columns = (int)Math.Min(MoveRows.MaxColumns, BitOperations.RoundUpToPowerOf2((ulong)words));
        long groups = (words + columns - 1) / columns;
        device.Launch(entry, groups * problem.Cells, new MoveRows.Parameters<T>
        {
            Data = view.As<T>(),
            PageTable = operands[KvCacheCompactProblem.PageTable].AsMatrix<int>(),
            Kept = operands[KvCacheCompactProblem.Kept].AsMatrix<int>(),
            KeptCounts = operands[KvCacheCompactProblem.KeptCounts].As<int>(),
            PageStride = view.Layout.Stride(0) * view.Type.SizeInBytes() / sizeof(T),
            RowStride = rowStride * view.Type.SizeInBytes() / sizeof(T),
            Words = (int)words,
            PageSize = problem.PageSize,
            Columns = columns,
            GroupsOfCell = (int)groups,
        });
    }
}
