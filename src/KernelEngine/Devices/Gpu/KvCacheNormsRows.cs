using ILGPU;
using KernelEngine.Kernels.Gpu.KvCache;

namespace KernelEngine;

/// <summary>Launches <see cref="RowNorms"/> for keys and for values.</summary>
internal sealed class KvCacheNormsRows() : GpuKernel<KvCacheNormsProblem>("kv-cache-norms/ilgpu")
{
    private readonly RowNormsEntries _norms = new();

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => _norms.All;

    /// <inheritdoc/>
    public override void Launch(in KvCacheNormsProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device)
    {
        GpuView pageTable = operands[KvCacheNormsProblem.PageTable], lengths = operands[KvCacheNormsProblem.Lengths];
        GpuView keyNorms = operands[KvCacheNormsProblem.KeyNorms], valueNorms = operands[KvCacheNormsProblem.ValueNorms];
        if (keyNorms.IsPresent)
            _norms.Launch(operands[KvCacheNormsProblem.Key], operands[KvCacheNormsProblem.KeyScale], keyNorms, pageTable, lengths, device);
        if (!valueNorms.IsPresent)
            return;
        _norms.Launch(operands[KvCacheNormsProblem.Value], operands[KvCacheNormsProblem.ValueScale], valueNorms, pageTable, lengths,
            device);
    }
}
