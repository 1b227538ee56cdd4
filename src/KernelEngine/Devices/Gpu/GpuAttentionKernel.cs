using ILGPU;
using KernelEngine.Kernels.Gpu.Primitives;

namespace KernelEngine;

/// <summary>An attention kernel: one set of instances for each storage of the queries and each of keys and values.</summary>
internal abstract class GpuAttentionKernel : GpuKernel<AttentionProblem>
{
    private const int NumStorages = 3;

    private readonly Lazy<AttentionInstances[]> _instances;

    protected GpuAttentionKernel(string name) : base(name) => _instances = new Lazy<AttentionInstances[]>(CreateAll);

    /// <inheritdoc/>
    public override IReadOnlyList<GpuEntry> Entries => [.. _instances.Value.SelectMany(i => i.Entries)];

    /// <inheritdoc/>
    public override string? WhyUnsupported(in AttentionProblem problem) =>
        problem.IsPlain && problem.KvType.IsFloat() ? null : "computes plain and causal attention alone";

    /// <inheritdoc/>
    public override void Launch(in AttentionProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device) =>
        _instances.Value[NumStorages * (int)problem.Type + (int)problem.KvType].Launch(problem, operands, workspace, device);

    protected abstract AttentionInstances Create<TQuery, TQueryStorage, TKv, TKvStorage>()
        where TQuery : unmanaged where TQueryStorage : struct, IStorage<TQuery>
        where TKv : unmanaged where TKvStorage : struct, IStorage<TKv>;

    // In the order of DataType: float32, float16, bfloat16.
    private AttentionInstances[] CreateAll() =>
    [
        Create<float, Float32Storage, float, Float32Storage>(),
        Create<float, Float32Storage, ushort, Float16Storage>(),
        Create<float, Float32Storage, ushort, BFloat16Storage>(),
        Create<ushort, Float16Storage, float, Float32Storage>(),
        Create<ushort, Float16Storage, ushort, Float16Storage>(),
        Create<ushort, Float16Storage, ushort, BFloat16Storage>(),
        Create<ushort, BFloat16Storage, float, Float32Storage>(),
        Create<ushort, BFloat16Storage, ushort, Float16Storage>(),
        Create<ushort, BFloat16Storage, ushort, BFloat16Storage>(),
    ];
}
