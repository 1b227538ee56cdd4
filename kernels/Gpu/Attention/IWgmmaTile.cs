namespace KernelEngine.Kernels.Gpu.Attention;

/// <summary>Sizes of <see cref="FlashForwardWgmma"/> for one head dimension.</summary>
internal interface IWgmmaTile
{
    /// <summary>Elements of a row of queries, keys and values: a multiple of 64.</summary>
    static abstract int HeadDim { get; }

    /// <summary>Warp groups that multiply, with 64 query rows each.</summary>
    static abstract int Consumers { get; }

    /// <summary>Keys of a block.</summary>
    static abstract int BlockN { get; }

    /// <summary>Registers of a thread that multiplies; the copying warp group keeps few.</summary>
    static abstract int ConsumerRegisters { get; }

    /// <summary>Registers of a thread that copies.</summary>
    static abstract int ProducerRegisters { get; }
}
