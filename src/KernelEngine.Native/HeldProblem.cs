namespace KernelEngine.Native;

/// <summary>A problem that C holds, whatever its type.</summary>
internal abstract class HeldProblem : IDisposable
{
    public abstract IProblem Problem { get; }

    /// <summary>The kernel that computes it on a device.</summary>
    public abstract Kernel Select(Device device);

    /// <summary>Bytes that the kernel takes from the device's pool.</summary>
    public abstract long GetWorkspaceBytes(Device device);

    /// <summary>Computes it; allocates nothing on the managed heap.</summary>
    public abstract void Run(Device device, ReadOnlySpan<byte> operands, int operandBytes);

    public void Dispose()
    {
    }
}
