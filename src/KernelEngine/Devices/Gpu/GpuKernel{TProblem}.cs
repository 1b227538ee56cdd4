using ILGPU;

namespace KernelEngine;

/// <summary>
/// A kernel whose device code ILGPU compiles. This half chooses the grid and fills in the arguments; it never validates or
/// waits.
/// </summary>
internal abstract class GpuKernel<TProblem>(string name, DeviceKinds devices = DeviceKinds.Ilgpu)
    : Kernel<TProblem>(name, devices), IGpuKernel where TProblem : struct, IProblem<TProblem>
{
    /// <inheritdoc/>
    public abstract IReadOnlyList<GpuEntry> Entries { get; }

    /// <summary>Bytes of scratch memory that <see cref="Launch"/> needs.</summary>
    public virtual long GetWorkspaceBytes(in TProblem problem, GpuDevice device) => 0;

    /// <summary>Queues the work on the device.</summary>
    /// <param name="problem">What to compute; supported and without error.</param>
    /// <param name="operands">One view an operand of the problem, in its order.</param>
    /// <param name="workspace">At least <see cref="GetWorkspaceBytes"/> bytes, contents undefined.</param>
    /// <param name="device">The device that holds the operands.</param>
    public abstract void Launch(in TProblem problem, ReadOnlySpan<GpuView> operands, ArrayView<byte> workspace, GpuDevice device);
}
