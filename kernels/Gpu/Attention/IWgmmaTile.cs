namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashForwardWgmma"/> for one head dimension.</summary>
internal interface IWgmmaTile
{
    /// <summary>Elements of a row of queries, keys and values: a multiple of 64.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Keys of a block.</summary>
    static abstract int BlockN { get; }
}
