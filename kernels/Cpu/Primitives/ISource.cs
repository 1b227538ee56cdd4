namespace KernelEngine.Kernels.Cpu.Primitives;

/// <summary>How stored elements become float32 lanes; a streaming loop compiles once for each implementation.</summary>
internal unsafe interface ISource<TVector> where TVector : unmanaged
{
    /// <summary>Bytes of one stored element.</summary>
    static abstract int Size { get; }

    /// <summary>Widens one vector of elements, beginning with element <paramref name="index"/> of <paramref name="row"/>.</summary>
    static abstract TVector Load(byte* row, long index);

    /// <summary>Widens one element.</summary>
    static abstract float LoadOne(byte* row, long index);
}
