using System.Numerics;

namespace KernelEngine;

/// <summary>Scratch memory for kernels, kept between calls so that a call in steady state allocates nothing.</summary>
internal sealed unsafe class HostWorkspacePool : IDisposable
{
    private readonly Lock _gate = new();
    private readonly List<(nint Address, long Bytes)> _free = [];
    private readonly List<(nint Address, long Bytes)> _rented = [];

    /// <summary>Returns at least <paramref name="bytes"/> bytes, 64-byte aligned, contents undefined.</summary>
    public void* Rent(long bytes)
    {
        lock (_gate)
        {
            int best = -1;
            for (int i = 0; i < _free.Count; i++)
            {
                if (_free[i].Bytes >= bytes && (best < 0 || _free[i].Bytes < _free[best].Bytes))
                    best = i;
            }
            (nint Address, long Bytes) block;
            if (best >= 0)
            {
                block = _free[best];
                _free.RemoveAt(best);
            }
            else
            {
                DropSmaller(bytes);
                long size = RoundUp(bytes);
                block = ((nint)HostMemory.Allocate(size, isZeroed: false), size);
            }
            _rented.Add(block);
            return (void*)block.Address;
        }
    }

    /// <summary>Takes back what <see cref="Rent"/> gave.</summary>
    public void Return(void* address)
    {
        lock (_gate)
        {
            int index = 0; // a lambda for FindIndex would be allocated at every call
            while (_rented[index].Address != (nint)address)
                index++;
            _free.Add(_rented[index]);
            _rented.RemoveAt(index);
        }
    }

    public void Dispose()
    {
        lock (_gate)
            DropSmaller(long.MaxValue);
    }

    // To an eighth of a power of two: a caller that needs a little more each time seldom needs another block.
    private static long RoundUp(long bytes)
    {
        long step = Math.Max(4096, (long)(BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 1)) >> 4));
        return checked(bytes + step - 1) / step * step;
    }

    // One caller with growing problems would otherwise leave a trail of blocks that are too small for it.
    private void DropSmaller(long bytes)
    {
        for (int i = _free.Count - 1; i >= 0; i--)
        {
            if (_free[i].Bytes >= bytes)
                continue;
            HostMemory.Free((void*)_free[i].Address);
            _free.RemoveAt(i);
        }
    }
}
