using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using KernelEngine.Kernels.Gpu.Primitives.Ptx;

namespace KernelEngine;

/// <summary>
/// A device whose kernels ILGPU compiles: <c>opencl</c>, <c>cuda</c>, or <c>simulator</c>, which runs every GPU thread on a
/// thread of the processor and serves to debug kernels, never for speed. Work is queued in order on one stream; reading a
/// tensor waits for it. Any number of threads may call at once: one lock guards the queue.
/// </summary>
public sealed class GpuDevice : Device
{
    private readonly Context _context;
    private readonly Accelerator _accelerator;
    private readonly Lock _gate = new();
    private readonly Dictionary<GpuEntry, Delegate> _loaded = [];
    private readonly Dictionary<nint, GpuStorage> _foreign = [];
    private readonly ICudaExecutor? _executor;
    private readonly GpuWorkspacePool _workspaces;
    private AcceleratorStream _stream;
    private string? _compilerFailure;

    internal GpuDevice(string name, DeviceKinds kind, Context context, Accelerator accelerator, ICudaExecutor? executor = null)
        : base(name, kind, Describe(accelerator))
    {
        (_context, _accelerator, _stream) = (context, accelerator, accelerator.DefaultStream);
        _executor = executor ?? (accelerator is CudaAccelerator cuda ? new CudaExecutor(cuda) : null);
        _workspaces = new GpuWorkspacePool(this);
    }

    /// <summary>Compute units: multiprocessors of a GPU.</summary>
    public int ComputeUnits => _accelerator.NumMultiprocessors;

    /// <summary>Bytes of device memory now allocated for tensors and workspaces.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>
    /// The CUcontext or cl_context that the device works in. Memory and streams of other owners must belong to it: a CUcontext is made
    /// current before allocating.
    /// </summary>
    /// <exception cref="NotSupportedException">It is the simulator.</exception>
    public nint Context => Kind == DeviceKinds.Simulator ? throw NoDriver() : _accelerator.NativePtr;

    /// <summary>
    /// Queues work on somebody else's stream from now on, in order with what its owner queues there, after waiting for what was queued
    /// before. The stream must live until another one takes its place or the device is disposed.
    /// </summary>
    /// <param name="stream">A CUstream or an in-order cl_command_queue of <see cref="Context"/>; 0 for the device's own.</param>
    /// <exception cref="NotSupportedException">It is the simulator.</exception>
    public void UseStream(nint stream)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (Kind == DeviceKinds.Simulator)
            throw NoDriver();
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            _stream.Synchronize();
            if (_stream != _accelerator.DefaultStream)
                _stream.Dispose(); // ILGPU's object alone: the stream stays its owner's
            _stream = stream == 0 ? _accelerator.DefaultStream
                : _accelerator is CLAccelerator cl ? cl.CreateStream(stream, false)
                : ((CudaAccelerator)_accelerator).CreateStream(stream, false);
            if (_executor is CudaExecutor executor)
                executor.Stream = (CudaStream)_stream;
        }
    }

    /// <inheritdoc/>
    public override void Synchronize()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            _stream.Synchronize();
        }
    }

    internal override TensorStorage AllocateStorage(long bytes)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_gate)
        {
            MemoryBuffer1D<byte, Stride1D.Dense> buffer = Allocate(GpuStorage.SizeFor(bytes));
            using var binding = _accelerator.BindScoped();
            buffer.MemSetToZero(_stream);
            return new GpuStorage(this, buffer, bytes);
        }
    }

    // Addresses lie in one storage that begins at 0. A cl_mem names a storage of its own, which is kept for its next use: NULL is one too.
    internal override (TensorStorage Storage, long ByteOffset) Locate(nint address)
    {
        bool isName = Kind == DeviceKinds.OpenCL;
        lock (_gate)
        {
            ref GpuStorage? storage = ref CollectionsMarshal.GetValueRefOrAddDefault(_foreign, isName ? address : 0, out _);
            storage ??= new GpuStorage(this, new ForeignMemory(_accelerator, isName ? address : 0, long.MaxValue));
            return (storage, isName ? 0 : address == 0 ? EmptyAddress : address);
        }
    }

    internal override unsafe TensorStorage Borrow(void* address, long bytes)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (Kind != DeviceKinds.OpenCL && (nint)address % GpuStorage.MinBytes != 0)
            throw new ArgumentException($"The address must be aligned to {GpuStorage.MinBytes} bytes.", nameof(address));
        _executor?.Allocated((nint)address, bytes);
        return new GpuStorage(this, new ForeignMemory(_accelerator, (nint)address, bytes));
    }

    internal override long GetWorkspaceBytes<TProblem>(Kernel<TProblem> kernel, in TProblem problem) =>
        ((GpuKernel<TProblem>)kernel).GetWorkspaceBytes(problem, this);

    /// <summary>Calls the driver while this device is the calling thread's.</summary>
    internal void InContext(Action call)
    {
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            call();
        }
    }

    /// <summary>Copies host memory to the device; the source may be reused on return.</summary>
    internal void CopyIn(ReadOnlySpan<byte> source, ArrayView<byte> target)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            target.CopyFromCPU(_stream, source);
        }
    }

    /// <summary>Waits for the queue and copies device memory to the host.</summary>
    internal void CopyOut(ArrayView<byte> source, Span<byte> target)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            source.CopyToCPU(_stream, target);
        }
    }

    /// <summary>Queues a copy within the device.</summary>
    internal void Copy(ArrayView<byte> source, ArrayView<byte> target)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            source.CopyTo(_stream, target);
        }
    }

    internal MemoryBuffer1D<byte, Stride1D.Dense> Allocate(long bytes)
    {
        lock (_gate)
        {
            using var binding = _accelerator.BindScoped();
            MemoryBuffer1D<byte, Stride1D.Dense> buffer = _accelerator.Allocate1D<byte>(bytes);
            AllocatedBytes += buffer.LengthInBytes;
            _executor?.Allocated(buffer.NativePtr, buffer.LengthInBytes);
            return buffer;
        }
    }

    internal void Free(MemoryBuffer1D<byte, Stride1D.Dense> buffer)
    {
        lock (_gate)
        {
            if (buffer.IsDisposed)
                return;
            AllocatedBytes -= buffer.LengthInBytes;
            using var binding = _accelerator.BindScoped();
            // Work that uses the buffer may still be queued, and not every driver holds the memory until then.
            _stream.Synchronize();
            buffer.Dispose();
        }
    }

    /// <summary>Queues one launch of <paramref name="groups"/> groups; none for 0. Compiles the code at its first launch.</summary>
    internal void Launch<TParameters>(GpuEntry<TParameters> entry, long groups, in TParameters parameters) where TParameters : struct
    {
        if (groups == 0)
            return;
        if (groups > int.MaxValue)
            throw new NotSupportedException($"{entry} would need {groups} groups; a launch has at most {int.MaxValue}.");
        lock (_gate)
        {
            if (!_loaded.TryGetValue(entry, out Delegate? launcher))
                _loaded.Add(entry, launcher = Load(entry));
            using var binding = _accelerator.BindScoped();
            Unsafe.As<Action<AcceleratorStream, KernelConfig, TParameters>>(launcher)(
                _stream, new KernelConfig((int)groups, entry.Threads), parameters);
        }
    }

    /// <summary>Queues one launch of code with NVIDIA's own instructions; none for 0 groups. Compiles it at its first launch.</summary>
    internal void Launch<TParameters>(CudaEntry<TParameters> entry, long groups, in TParameters parameters) where TParameters : unmanaged
    {
        if (groups == 0)
            return;
        if (groups > int.MaxValue)
            throw new NotSupportedException($"{entry} would need {groups} groups; a launch has at most {int.MaxValue}.");
        lock (_gate)
        {
            Executor.Launch(entry, (int)groups, MemoryMarshal.AsBytes(new ReadOnlySpan<TParameters>(in parameters)));
        }
    }

    /// <inheritdoc cref="ICudaExecutor.EncodeTensorMap"/>
    internal TensorMap EncodeTensorMap(
        long address, DataType type, ReadOnlySpan<ulong> sizes, ReadOnlySpan<ulong> byteStrides, ReadOnlySpan<uint> box) =>
        Executor.EncodeTensorMap(address, type, sizes, byteStrides, box);

    private protected override void Launch<TProblem>(Kernel<TProblem> kernel, in TProblem problem, ReadOnlySpan<TensorView> operands)
    {
        var gpuKernel = (GpuKernel<TProblem>)kernel;
        GpuViews views = default;
        for (int i = 0; i < operands.Length; i++)
        {
            TensorView view = operands[i];
            if (view.Storage is GpuStorage storage)
                views[i] = new GpuView(storage.View.SubView(view.ByteOffset), view.ByteOffset, view.Type, view.Layout);
        }
        lock (_gate)
        {
            ArrayView<byte> workspace = _workspaces.Get(gpuKernel.GetWorkspaceBytes(problem, this));
            gpuKernel.Launch(problem, ((ReadOnlySpan<GpuView>)views)[..operands.Length], workspace, this);
        }
    }

    private protected override void Release()
    {
        lock (_gate)
        {
            _workspaces.Dispose();
            _loaded.Clear();
            _executor?.Dispose();
            _accelerator.Dispose(); // takes the memory of tensors that are still alive with it
            _context.Dispose();
            AllocatedBytes = 0;
        }
    }

    private Delegate Load<TParameters>(GpuEntry<TParameters> entry) where TParameters : struct
    {
        if (entry.Threads > _accelerator.MaxNumThreadsPerGroup)
        {
            throw new NotSupportedException(
                $"{entry} needs groups of {entry.Threads} threads; {Description} allows {_accelerator.MaxNumThreadsPerGroup}.");
        }
        if (entry.SharedBytes > _accelerator.MaxSharedMemoryPerGroup)
        {
            throw new NotSupportedException(
                $"{entry} needs {entry.SharedBytes} bytes of shared memory; {Description} has {_accelerator.MaxSharedMemoryPerGroup}.");
        }
        if (_compilerFailure is not null)
            throw new KernelCompilationException($"Device '{Name}' must be opened anew because a compilation failed: {_compilerFailure}");
        try
        {
            using var binding = _accelerator.BindScoped();
            return entry.Load(_accelerator);
        }
        catch (Exception e)
        {
            // After one failure ILGPU's context refuses correct code too, with an error that says nothing.
            Exception cause = e;
            while (cause.InnerException is not null)
                cause = cause.InnerException;
            _compilerFailure = $"{entry} on {Description}: {cause.Message}";
            throw new KernelCompilationException($"Could not compile {_compilerFailure}", e);
        }
    }

    private ICudaExecutor Executor => _executor ?? throw new NotSupportedException($"Device '{Name}' does not run NVIDIA's instructions.");

    private NotSupportedException NoDriver() => new($"Device '{Name}' has no driver, and so neither a context nor streams.");

    private static string Describe(Accelerator accelerator) =>
        $"{accelerator.Name.Trim()}, {accelerator.NumMultiprocessors} compute unit{(accelerator.NumMultiprocessors == 1 ? "" : "s")}";
}
