namespace KernelEngine;

/// <summary>A kernel for problems of type <typeparamref name="TProblem"/>.</summary>
public abstract class Kernel<TProblem> : Kernel where TProblem : struct, IProblem<TProblem>
{
    /// <summary>Names the kernel and the devices it runs on.</summary>
    protected Kernel(string name, DeviceKinds devices) : base(name, devices)
    {
    }

    /// <summary>Null when the kernel can compute <paramref name="problem"/>, else a sentence that says why not.</summary>
    public virtual string? WhyUnsupported(in TProblem problem) => null;
}
