using System.Buffers;
using System.Runtime.CompilerServices;
using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>The host processor, as the devices <c>cpu</c> (SIMD kernels) and <c>reference</c> (scalar, double accumulation).</summary>
public sealed unsafe class CpuDevice : Device
{
    private readonly WorkerPool _workers;
    private readonly HostStorage _addressSpace;
    private readonly HostWorkspacePool _workspaces = new();

    internal CpuDevice(string name, DeviceKinds kind, int threads)
        : base(name, kind, $"{HostProcessor.Name}, {threads} thread{(threads == 1 ? "" : "s")}")
    {
        _workers = new WorkerPool(threads);
        _addressSpace = new HostStorage(this, null, long.MaxValue, default);
    }

    /// <summary>How many threads share the work of one operation. Results depend on it in the last bits.</summary>
    public int Threads => _workers.Count;

    internal WorkerPool Workers => _workers;

    /// <inheritdoc/>
    public override void Synchronize() => ObjectDisposedException.ThrowIf(IsDisposed, this);

    internal override TensorStorage AllocateStorage(long bytes)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return new HostStorage(this, bytes);
    }

    internal TensorStorage Borrow(MemoryHandle handle, long bytes) => new HostStorage(this, handle.Pointer, bytes, handle);

    internal override TensorStorage Borrow(void* address, long bytes) => new HostStorage(this, address, bytes, default);

    internal override (TensorStorage Storage, long ByteOffset) Locate(nint address) =>
        (_addressSpace, address == 0 ? EmptyAddress : address);

    internal override long GetWorkspaceBytes<TProblem>(Kernel<TProblem> kernel, in TProblem problem) =>
        ((CpuKernel<TProblem>)kernel).GetWorkspaceBytes(problem, Threads);

    private protected override void Launch<TProblem>(Kernel<TProblem> kernel, in TProblem problem, ReadOnlySpan<TensorView> operands)
    {
        var cpuKernel = (CpuKernel<TProblem>)kernel;
        RawViews views = default;
        for (int i = 0; i < operands.Length; i++)
        {
            TensorView view = operands[i];
            if (view.Storage is HostStorage storage)
                views[i] = new RawView(storage.Address + view.ByteOffset, view.Type, view.Layout);
        }
        if (TProblem.FindContentError(problem, ((ReadOnlySpan<RawView>)views)[..operands.Length], _workers) is { } error)
            throw new ArgumentException(error, nameof(operands));
        long bytes = cpuKernel.GetWorkspaceBytes(problem, _workers.Count);
        void* workspace = bytes > 0 ? _workspaces.Rent(bytes) : null;
        try
        {
            cpuKernel.Run(problem, ((ReadOnlySpan<RawView>)views)[..operands.Length], workspace, _workers);
        }
        finally
        {
            if (workspace != null)
                _workspaces.Return(workspace);
        }
        GC.KeepAlive(operands.Length > 0 ? operands[0].Storage : null);
    }

    private protected override void Release()
    {
        _workers.Dispose();
        _workspaces.Dispose();
    }

    [InlineArray(32)]
    private struct RawViews
    {
        private RawView _element;
    }
}
