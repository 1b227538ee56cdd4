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

    /// <summary>
    /// Notes in <paramref name="seen"/>, zero at first, elements that <see cref="Load"/> got wrong. Sources that get all right
    /// note nothing.
    /// </summary>
    static abstract TVector Watch(TVector seen, TVector loaded);

    /// <summary>Whether <see cref="Load"/> was right for all that went into <paramref name="seen"/>.</summary>
    static abstract bool IsTrusted(TVector seen);
}
