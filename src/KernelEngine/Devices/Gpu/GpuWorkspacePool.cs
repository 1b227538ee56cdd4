using System.Numerics;
using ILGPU;
using ILGPU.Runtime;

namespace KernelEngine;

/// <summary>
/// Scratch memory for kernels, kept between calls. The queue runs in order, so a block may be handed out again as soon as
/// its launch is queued: the next user's work begins after the last one's. The device's lock guards it.
/// </summary>
internal sealed class GpuWorkspacePool(GpuDevice device) : IDisposable
{
    // From here on blocks grow by this much, not to twice their size.
    private const long Large = 4 << 20;

    private MemoryBuffer1D<byte, Stride1D.Dense>? _block;

    /// <summary>At least <paramref name="bytes"/> bytes, contents undefined, good until the next call.</summary>
    public ArrayView<byte> Get(long bytes)
    {
        if (bytes == 0)
            return default;
        if (_block is null || _block.Length < bytes)
        {
            Dispose();
            _block = device.Allocate(bytes < Large
                ? (long)BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 4096)) : (bytes + Large - 1) / Large * Large);
        }
        return _block.View.BaseView;
    }

    public void Dispose()
    {
        if (_block is null)
            return;
        device.Free(_block);
        _block = null;
    }
}
