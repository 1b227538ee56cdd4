namespace KernelEngine.Native;

/// <summary>
/// The objects that C holds. A handle is a number, never an address: kind, place and generation, so that one that is closed, of
/// another kind or made up is found out without touching memory. Looking one up takes no lock and allocates nothing.
/// </summary>
/// <param name="kind">The word for it in messages.</param>
/// <param name="tag">Tells the kinds apart: 1 to 255.</param>
internal sealed class HandleTable<T>(string kind, int tag) where T : class, IDisposable
{
    private const int MaxPlaces = 1 << 23, Exclusive = int.MaxValue;

    private readonly Lock _gate = new();
    private readonly Stack<int> _free = [];
    private volatile Slot[] _slots = [];
    private int _used;

    /// <summary>Keeps an object until <see cref="Close"/>.</summary>
    public nint Add(T value)
    {
        lock (_gate)
        {
            if (!_free.TryPop(out int place))
                place = TakePlace();
            Slot slot = _slots[place];
            slot.Value = value;
            long generation = (Volatile.Read(ref slot.State) >> 32) + 1; // odd while open
            Volatile.Write(ref slot.State, generation << 32);
            return (nint)(generation << 32 | (long)place << 8 | (long)tag);
        }
    }

    /// <summary>Uses an object until the lease is disposed; meanwhile it cannot be closed.</summary>
    /// <param name="handle">What <see cref="Add"/> gave.</param>
    /// <param name="isExclusive">True when nobody else may use it meanwhile.</param>
    /// <exception cref="ArgumentException">It is no open handle of this kind.</exception>
    /// <exception cref="BusyException">It is in use by another call, and one of both is exclusive.</exception>
    public Lease Use(nint handle, bool isExclusive = false)
    {
        Slot slot = Find(handle);
        long generation = handle >> 32;
        while (true)
        {
            long state = Volatile.Read(ref slot.State);
            if (state >> 32 != generation)
                throw Unknown(handle);
            int users = (int)state;
            if (users == Exclusive || isExclusive && users > 0)
                throw new BusyException($"The {kind} is in use by another call.");
            long next = generation << 32 | (uint)(isExclusive ? Exclusive : users + 1);
            if (Interlocked.CompareExchange(ref slot.State, next, state) == state)
                return new Lease(slot);
        }
    }

    /// <summary>Disposes an object.</summary>
    /// <exception cref="ArgumentException">It is no open handle of this kind.</exception>
    /// <exception cref="BusyException">It is in use.</exception>
    public void Close(nint handle)
    {
        Slot slot = Find(handle);
        long open = (long)(handle >> 32) << 32;
        long state = Interlocked.CompareExchange(ref slot.State, open + (1L << 32), open);
        if (state >> 32 != open >> 32)
            throw Unknown(handle);
        if (state != open)
            throw new BusyException($"The {kind} is in use and cannot be closed.");
        T value = slot.Value!;
        slot.Value = null;
        lock (_gate)
            _free.Push((int)(handle >> 8) & (MaxPlaces - 1));
        value.Dispose();
    }

    private Slot Find(nint handle)
    {
        long place = (uint)handle >> 8;
        Slot[] slots = _slots;
        return (handle & 0xFF) == tag && (handle >> 32 & 1) == 1 && place < slots.Length ? slots[place] : throw Unknown(handle);
    }

    private ArgumentException Unknown(nint handle) =>
        new(handle == 0 ? $"The {kind} is NULL." : $"0x{handle:x} is no open {kind}: it was closed, or never opened.");

    private int TakePlace()
    {
        if (_used == MaxPlaces)
            throw new NotSupportedException($"More than {MaxPlaces} handles of a {kind} are open.");
        if (_used == _slots.Length)
        {
            var grown = new Slot[Math.Max(16, 2 * _used)];
            _slots.CopyTo(grown, 0);
            for (int i = _used; i < grown.Length; i++)
                grown[i] = new Slot();
            _slots = grown;
        }
        return _used++;
    }

    /// <summary>The generation in the upper half (odd while open), the number of users in the lower.</summary>
    internal sealed class Slot
    {
        public long State;
        public T? Value;
    }

    /// <summary>The use of an object by one call.</summary>
    internal readonly struct Lease(Slot slot) : IDisposable
    {
        public T Value => slot.Value!;

        public void Dispose()
        {
            long state = Volatile.Read(ref slot.State);
            while (true)
            {
                long next = (int)state == Exclusive ? state >> 32 << 32 : state - 1;
                long seen = Interlocked.CompareExchange(ref slot.State, next, state);
                if (seen == state)
                    return;
                state = seen;
            }
        }
    }
}
