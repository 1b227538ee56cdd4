using ILGPU;

namespace KernelEngine.Kernels.Gpu.Primitives;

/// <summary>A matrix as kernels see it: elements of a row are neighbours, rows are <see cref="RowStride"/> elements apart.</summary>
internal struct MatrixView<T> where T : unmanaged
{
    public ArrayView<T> Data;
    public long RowStride;

    /// <summary>See <see cref="TokenTensor{T}.HasQuads"/>.</summary>
    public int HasQuads;
}
