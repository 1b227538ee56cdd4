namespace KernelEngine.Tests.Gpu.Emulation;

/// <summary>Lines of a matrix in shared memory as a warpgroup product reads them: <c>size</c> rows of A or columns of B, 16 steps of K.</summary>
internal readonly struct OperandTile(MatrixDescriptor descriptor, int first, int size)
{
    private const int Depth = MatrixFragments.Depth;
    private const int ElementsOfChunk = 8;

    public MatrixDescriptor Descriptor { get; } = descriptor;

    /// <summary>The address of every chunk of the tile.</summary>
    public IEnumerable<ulong> Chunks()
    {
        if (Descriptor.IsAlongK)
        {
            for (int line = first; line < first + size; line++)
            {
                for (int chunk = 0; chunk < Depth / ElementsOfChunk; chunk++)
                    yield return Descriptor.Chunk(line, chunk);
            }
        }
        else
        {
            for (int k = 0; k < Depth; k++)
            {
                for (int chunk = first / ElementsOfChunk; chunk < (first + size) / ElementsOfChunk; chunk++)
                    yield return Descriptor.Chunk(k, chunk);
            }
        }
    }

    /// <summary>Reads the tile: element (line, k) goes to <c>line · lineStride + k · depthStride</c>.</summary>
    public void Read(SharedMemory memory, PtxType type, Span<float> elements, int lineStride, int depthStride)
    {
        int number = 0;
        foreach (ulong address in Chunks())
        {
            ReadOnlySpan<byte> chunk = memory.At(address, SharedMemory.GranuleBytes);
            // Where the chunk's first element goes, and the step to the next.
            int chunksOfLine = Descriptor.IsAlongK ? Depth / ElementsOfChunk : size / ElementsOfChunk;
            (int line, int along) = (number / chunksOfLine, number % chunksOfLine * ElementsOfChunk);
            int at = Descriptor.IsAlongK ? line * lineStride + along * depthStride : line * depthStride + along * lineStride;
            int step = Descriptor.IsAlongK ? depthStride : lineStride;
            for (int i = 0; i < ElementsOfChunk; i++)
                elements[at + i * step] = MatrixFragments.Widen(BitConverter.ToUInt16(chunk[(2 * i)..]), type);
            number++;
        }
    }
}
