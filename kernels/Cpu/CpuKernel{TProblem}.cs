using KernelEngine.Kernels.Cpu.Primitives;

namespace KernelEngine;

/// <summary>
/// A kernel that runs on the host. It sees a problem and raw views that were checked against it; it never validates,
/// allocates or logs.
/// </summary>
public abstract class CpuKernel<TProblem> : Kernel<TProblem> where TProblem : struct, IProblem<TProblem>
{
    /// <summary>Names the kernel; <paramref name="device"/> is <see cref="DeviceKinds.Cpu"/> or <see cref="DeviceKinds.Reference"/>.</summary>
    protected CpuKernel(string name, DeviceKinds device = DeviceKinds.Cpu) : base(name, device)
    {
    }

    /// <summary>Bytes of scratch memory that <see cref="Run"/> needs with <paramref name="threads"/> workers.</summary>
    public virtual long GetWorkspaceBytes(in TProblem problem, int threads) => 0;

    /// <summary>Computes the problem. Returns when every output is written.</summary>
    /// <param name="problem">What to compute; supported and without error.</param>
    /// <param name="operands">One view an operand of the problem, in its order.</param>
    /// <param name="workspace">At least <see cref="GetWorkspaceBytes"/> bytes, 64-byte aligned, contents undefined.</param>
    /// <param name="workers">The threads to use; the partition of the work depends on their number alone.</param>
    public abstract unsafe void Run(in TProblem problem, ReadOnlySpan<RawView> operands, void* workspace, WorkerPool workers);
}
