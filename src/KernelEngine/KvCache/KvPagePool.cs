namespace KernelEngine;

/// <summary>
/// The pages of one layer: keys and values side by side in two tensors, a list of free pages, and memory that grows by halves and
/// is given back when pages are moved together.
/// </summary>
internal sealed class KvPagePool : IDisposable
{
    private readonly Device _device;
    private readonly KvLayerShape _shape;
    private readonly DataType _type;
    private readonly int _pageSize;
    private readonly Stack<int> _free = new();

    public KvPagePool(Device device, KvLayerShape shape, DataType type, int pageSize)
    {
        (_device, _shape, _type, _pageSize) = (device, shape, type, pageSize);
        Allocate(0);
    }

    /// <summary>[pages, pageSize, 1, headDim]; a pool without pages has memory for one.</summary>
    public Tensor Key { get; private set; } = null!;

    /// <summary>[pages, pageSize, 1, valueHeadDim]</summary>
    public Tensor Value { get; private set; } = null!;

    /// <summary>f32 [pages, 1, pageSize], for i8 alone.</summary>
    public Tensor? KeyScale { get; private set; }

    /// <summary>f32 [pages, 1, pageSize], for i8 alone.</summary>
    public Tensor? ValueScale { get; private set; }

    /// <summary>Pages that there is memory for.</summary>
    public int Reserved { get; private set; }

    /// <summary>Pages in use.</summary>
    public int Used => Reserved - _free.Count;

    /// <summary>Bytes of a slot's key, value and scales.</summary>
    public long SlotBytes => (long)(_shape.HeadDim + _shape.ValueHeadDim) * _type.SizeInBytes() + (_type == DataType.Int8 ? 2 * sizeof(float) : 0);

    public long ReservedBytes => Reserved * _pageSize * SlotBytes;

    /// <summary>Takes a free page; there must be one.</summary>
    public int Take() => _free.Pop();

    public void Return(int page) => _free.Push(page);

    /// <summary>Sees to it that <paramref name="count"/> pages are free.</summary>
    /// <param name="count">Pages about to be taken.</param>
    /// <param name="isExact">False to grow by at least half, so that growing page by page copies each page a few times at most.</param>
    public void Reserve(int count, bool isExact)
    {
        long missing = (long)count - _free.Count;
        if (missing <= 0)
            return;
        long pages = Math.Max(Reserved + missing, isExact ? 0 : Reserved + Reserved / 2L);
        if (pages > int.MaxValue / _pageSize)
            throw new ArgumentException($"A layer's cache holds at most {int.MaxValue / _pageSize} pages but {pages} are needed.", nameof(count));
        Tensor?[] old = Tensors;
        int reserved = Reserved;
        Allocate((int)pages);
        for (int i = 0; i < old.Length; i++)
        {
            if (reserved > 0)
                CopyPages(old[i], 0, Tensors[i], 0, reserved);
        }
        for (int page = (int)pages - 1; page >= reserved; page--)
            _free.Push(page);
        Dispose(old);
    }

    /// <summary>
    /// Moves the pages in use together, in the order of the lists, renumbers them there, and gives the memory of the others back.
    /// </summary>
    public void Trim(IEnumerable<List<int>> pageLists)
    {
        if (_free.Count == 0)
            return;
        Tensor?[] old = Tensors;
        int used = Used;
        _free.Clear();
        Allocate(used);
        int next = 0;
        foreach (List<int> pages in pageLists)
        {
            for (int i = 0; i < pages.Count; i++, next++)
            {
                for (int t = 0; t < old.Length; t++)
                    CopyPages(old[t], pages[i], Tensors[t], next, 1);
                pages[i] = next;
            }
        }
        Dispose(old);
    }

    public void Dispose() => Dispose(Tensors);

    private Tensor?[] Tensors => [Key, Value, KeyScale, ValueScale];

    private void Allocate(int pages)
    {
        long memory = Math.Max(1, pages);
        Key = Tensor.Allocate(_device, _type, memory, _pageSize, 1, _shape.HeadDim);
        Value = Tensor.Allocate(_device, _type, memory, _pageSize, 1, _shape.ValueHeadDim);
        if (_type == DataType.Int8)
        {
            KeyScale = Tensor.Allocate(_device, DataType.Float32, memory, 1, _pageSize);
            ValueScale = Tensor.Allocate(_device, DataType.Float32, memory, 1, _pageSize);
        }
        Reserved = pages;
    }

    private static void CopyPages(Tensor? source, int from, Tensor? target, int to, int count)
    {
        if (source is null)
            return;
        long page = source.Layout.Stride(0);
        target!.CopyFrom(source, from * page, to * page, count * page);
    }

    /// <summary>Copies a page of another pool of the same shape and type.</summary>
    public void CopyPage(KvPagePool source, int from, int to)
    {
        for (int i = 0; i < Tensors.Length; i++)
            CopyPages(source.Tensors[i], from, Tensors[i], to, 1);
    }

    private void Dispose(Tensor?[] tensors)
    {
        _device.Synchronize();
        foreach (Tensor? tensor in tensors)
            tensor?.Dispose();
    }
}
