namespace KernelEngine.Kernels.Gpu.Primitives.Ptx;

/// <summary>
/// A matrix [rows, columns] of 16-bit elements as inline code sees it: the address of its first element, and elements from a row to
/// the next; those of a row are neighbours. Rows begin on 16 bytes, and columns are a multiple of 8.
/// </summary>
internal struct MatrixAddress
{
    public long Address, Stride;
    public int Rows, Columns;
}
