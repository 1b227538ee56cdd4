using System.Reflection;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>One compiled instance of device code: an entry method with its type arguments, and what a launch of it needs.</summary>
internal abstract class GpuEntry(Delegate body, int threads, int sharedBytes, bool hasQuadLoads)
{
    /// <summary>The method ILGPU compiles.</summary>
    public MethodInfo Method { get; } = body.Method;

    /// <summary>Threads of a group.</summary>
    public int Threads { get; } = threads;

    /// <summary>Shared memory of a group.</summary>
    public int SharedBytes { get; } = sharedBytes;

    /// <summary>True when the code promises loads of four elements at once.</summary>
    public bool HasQuadLoads { get; } = hasQuadLoads;

    /// <summary>What profilers call it, with the type arguments that tell instances apart.</summary>
    public string Name { get; } = body.Method.Name + (body.Method.IsGenericMethod
        ? $"<{string.Join(", ", body.Method.GetGenericArguments().Where(t => !t.IsPrimitive).Select(t => t.Name))}>" : "");

    /// <summary>The launch bounds given to the compiler.</summary>
    public virtual KernelSpecialization Specialization => new(Threads, null);

    /// <inheritdoc/>
    public override string ToString() => Name;
}
