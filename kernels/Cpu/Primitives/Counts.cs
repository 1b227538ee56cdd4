namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>The values of <see cref="ICount"/> that kernels use.</summary>
internal static class Counts
{
    /// <summary>1.</summary>
    public readonly struct One : ICount
    {
        /// <inheritdoc/>
        public static int Value => 1;
    }

    /// <summary>2.</summary>
    public readonly struct Two : ICount
    {
        /// <inheritdoc/>
        public static int Value => 2;
    }

    /// <summary>3.</summary>
    public readonly struct Three : ICount
    {
        /// <inheritdoc/>
        public static int Value => 3;
    }

    /// <summary>4.</summary>
    public readonly struct Four : ICount
    {
        /// <inheritdoc/>
        public static int Value => 4;
    }

    /// <summary>8.</summary>
    public readonly struct Eight : ICount
    {
        /// <inheritdoc/>
        public static int Value => 8;
    }
}
