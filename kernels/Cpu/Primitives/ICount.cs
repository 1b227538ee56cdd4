namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>A number that the JIT sees as a constant: a body with an ICount parameter compiles once for each value.</summary>
internal interface ICount
{
    /// <summary>The number.</summary>
    static abstract int Value { get; }
}
