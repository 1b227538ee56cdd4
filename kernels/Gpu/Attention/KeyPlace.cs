namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Indices of a key in the first three dimensions of key and value; with pages, the first is the page.</summary>
internal struct KeyPlace
{
    public int Batch, Token, Head;
}
