using System.Collections.Concurrent;
using System.Runtime.CompilerServices;

namespace KernelEngine;

/// <summary>
/// Where kernels run: it owns memory and an ordered queue of work. Calls are synchronous on the host's devices and queued
/// on the others, where reading a result waits. Any number of threads may call at once.
/// </summary>
public abstract class Device : IDisposable
{
    /// <summary>For an empty tensor, which may have no memory: to kernels no address means an operand that is left out.</summary>
    internal const int EmptyAddress = 64;

    private readonly ConcurrentDictionary<Kernel, StrongBox<long>> _launches = new();

    private protected Device(string name, DeviceKinds kind, string description) =>
        (Name, Kind, Description) = (name, kind, description);

    /// <summary>The name it is opened by: reference, cpu, opencl, cuda, simulator.</summary>
    public string Name { get; }

    /// <summary>Its kind; kernels name the kinds they run on.</summary>
    public DeviceKinds Kind { get; }

    /// <summary>The hardware, as its driver calls it.</summary>
    public string Description { get; }

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed { get; private set; }

    /// <summary>How often each kernel ran on this device.</summary>
    public IReadOnlyDictionary<Kernel, long> Launches => _launches.ToDictionary(pair => pair.Key, pair => pair.Value.Value);

    /// <summary>
    /// Computes <paramref name="problem"/> with the kernel asked for, or the first that supports it. Every operand is
    /// checked against the problem before anything is written.
    /// </summary>
    /// <param name="operation">What to compute.</param>
    /// <param name="problem">Sizes, types and options.</param>
    /// <param name="operands">One view an operand of the problem, in its order; default for an optional one left out, nothing for the last ones.</param>
    /// <param name="kernel">A kernel of the operation, or null to let the device choose.</param>
    /// <exception cref="ArgumentException">An operand has another shape, type or device, or an output overlaps an operand.</exception>
    /// <exception cref="NotSupportedException">No kernel (or not the one asked for) computes this problem here.</exception>
    public void Run<TProblem>(
        Operation<TProblem> operation, in TProblem problem, ReadOnlySpan<TensorView> operands, Kernel<TProblem>? kernel = null)
        where TProblem : struct, IProblem<TProblem>
    {
        ArgumentNullException.ThrowIfNull(operation);
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        OperandChecks.Check(this, problem, operands);
        if (kernel is null)
            kernel = operation.Select(Kind, problem);
        else
            CheckKernel(kernel, problem);
        TensorViews views = default;
        operands.CopyTo(views);
        using ProfilerRange range = ProfilerRange.IsOn ? ProfilerRange.Open($"{kernel.Name} {problem.ToText()}") : default;
        Launch(kernel, problem, ((ReadOnlySpan<TensorView>)views)[..problem.OperandCount]);
        Interlocked.Increment(ref _launches.GetOrAdd(kernel, static _ => new StrongBox<long>()).Value);
    }

    /// <summary>Waits until everything queued is done.</summary>
    public abstract void Synchronize();

    /// <summary>Stops the device and gives its memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        if (IsDisposed)
            return;
        IsDisposed = true;
        Release();
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    internal abstract TensorStorage AllocateStorage(long bytes);

    /// <summary>Memory of somebody else's at an address of the device.</summary>
    internal abstract unsafe TensorStorage Borrow(void* address, long bytes);

    /// <summary>
    /// The storage and the byte in it that an address of somebody else's stands for: views of it are operands by address, which costs no
    /// object a call. Whoever makes such a view vouches for its memory.
    /// </summary>
    /// <param name="address">An address that the device's kernels reach, a cl_mem on device opencl; 0 for memory of no bytes.</param>
    internal abstract (TensorStorage Storage, long ByteOffset) Locate(nint address);

    /// <summary>Bytes of scratch memory that a kernel takes from the device's pool.</summary>
    internal abstract long GetWorkspaceBytes<TProblem>(Kernel<TProblem> kernel, in TProblem problem)
        where TProblem : struct, IProblem<TProblem>;

    private protected abstract void Launch<TProblem>(Kernel<TProblem> kernel, in TProblem problem, ReadOnlySpan<TensorView> operands)
        where TProblem : struct, IProblem<TProblem>;

    private protected abstract void Release();

    private void CheckKernel<TProblem>(Kernel<TProblem> kernel, in TProblem problem) where TProblem : struct, IProblem<TProblem>
    {
        string? reason = (kernel.Devices & Kind) == 0 ? $"runs on {kernel.Devices}" : kernel.WhyUnavailable ?? kernel.WhyUnsupported(problem);
        if (reason is not null)
            throw new NotSupportedException($"{kernel.Name} cannot compute '{problem.ToText()}' on device '{Name}': {reason}.");
    }

    [InlineArray(32)]
    private struct TensorViews
    {
        private TensorView _element;
    }
}
