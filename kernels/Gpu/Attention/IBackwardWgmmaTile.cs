namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashGradKeyValueWgmma"/> and <see cref="FlashGradQueryWgmma"/> for one head dimension.</summary>
internal interface IBackwardWgmmaTile
{
    /// <summary>Elements of a row of queries, keys, values and their gradients: a multiple of 64.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Query rows that a step of <see cref="FlashGradKeyValueWgmma"/> takes: 64 or 128.</summary>
    static abstract int BlockM { get; }

    /// <summary>Keys that a step of <see cref="FlashGradQueryWgmma"/> takes.</summary>
    static abstract int BlockN { get; }

    /// <summary>
    /// 1 where threads of <see cref="FlashGradKeyValueWgmma"/> have the registers for a step's second product beside the first and the last
    /// step's; else 0: it comes after them.
    /// </summary>
    static abstract int StartsAllAtOnce { get; }
}
