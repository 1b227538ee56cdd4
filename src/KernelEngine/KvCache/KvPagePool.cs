using KernelEngine.Kernels.Cpu.KvCache;

namespace KernelEngine;

/// <summary>
/// Pages of one layer: what belongs to a page lies side by side in several tensors, which have a row a page. A list of free pages, and
/// memory that grows by halves and is given back when pages are moved together.
/// </summary>
internal sealed class KvPagePool : IDisposable
{
    private readonly Device _device;
    private readonly int _pageSize;
    private readonly Part[] _parts;
    private readonly Tensor[] _tensors;
    private readonly Stack<int> _free = new();

    private KvPagePool(Device device, int pageSize, Part[] parts)
    {
        (_device, _pageSize, _parts, _tensors) = (device, pageSize, parts, new Tensor[parts.Length]);
        Allocate(0);
    }

    /// <summary>
    /// Keys [pages, pageSize, 1, headDim], values [pages, pageSize, 1, valueHeadDim], and for i8 the scales of both [pages, 1, pageSize].
    /// </summary>
    public static KvPagePool OfRows(Device device, KvLayerShape shape, DataType type, int pageSize)
    {
        Part key = new(type, [pageSize, 1, shape.HeadDim]), value = new(type, [pageSize, 1, shape.ValueHeadDim]);
        var scale = new Part(DataType.Float32, [1, pageSize]);
        return new KvPagePool(device, pageSize, type == DataType.Int8 ? [key, value, scale, scale] : [key, value]);
    }

    /// <summary>The six parts of <see cref="CodePages"/>.</summary>
    public static KvPagePool OfCodes(Device device, KvLayerShape shape, int bits, int pageSize)
    {
        var page = new CodePages(1, pageSize, shape.HeadDim, shape.ValueHeadDim, bits);
        return new KvPagePool(
            device, pageSize, [.. Enumerable.Range(0, CodePages.Count).Select(i => ToPart(page.GetOperand(i, OperandRole.Input)))]);

        static Part ToPart(Operand operand) =>
            new(operand.Type, [.. Enumerable.Range(1, operand.Shape.Rank - 1).Select(dimension => operand.Shape[dimension])]);
    }

    /// <summary>One of the parts; a pool without pages has memory for one.</summary>
    public Tensor this[int part] => _tensors[part];

    /// <summary>How many parts there are.</summary>
    public int Count => _parts.Length;

    /// <summary>Pages that there is memory for.</summary>
    public int Reserved { get; private set; }

    /// <summary>Pages in use.</summary>
    public int Used => Reserved - _free.Count;

    /// <summary>Bytes of a page.</summary>
    public long PageBytes => _parts.Sum(part => part.Bytes);

    public long ReservedBytes => Reserved * PageBytes;

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
        Tensor[] old = [.. _tensors];
        int reserved = Reserved;
        Allocate((int)pages);
        for (int i = 0; i < old.Length && reserved > 0; i++)
            CopyPages(old[i], 0, _tensors[i], 0, reserved);
        for (int page = (int)pages - 1; page >= reserved; page--)
            _free.Push(page);
        Dispose(old);
    }

    /// <summary>
    /// Moves the pages in use together, in the order of the lists, renumbers them there, and gives the memory of the others back.
    /// </summary>
    /// <param name="pageLists">What holds the pages.</param>
    /// <param name="areCodes">Whether pages are in the lists as ~page, among those of another pool; else negative ones are another's.</param>
    public void Trim(IEnumerable<List<int>> pageLists, bool areCodes)
    {
        if (_free.Count == 0)
            return;
        Tensor[] old = [.. _tensors];
        int used = Used;
        _free.Clear();
        Allocate(used);
        int next = 0;
        foreach (List<int> pages in pageLists)
        {
            for (int i = 0; i < pages.Count; i++)
            {
                int page = areCodes ? ~pages[i] : pages[i];
                if (page < 0)
                    continue;
                for (int t = 0; t < old.Length; t++)
                    CopyPages(old[t], page, _tensors[t], next, 1);
                pages[i] = areCodes ? ~next : next;
                next++;
            }
        }
        Dispose(old);
    }

    public void Dispose() => Dispose(_tensors);

    private void Allocate(int pages)
    {
        for (int i = 0; i < _parts.Length; i++)
            _tensors[i] = Tensor.Allocate(_device, _parts[i].Type, [Math.Max(1, pages), .. _parts[i].Page]);
        Reserved = pages;
    }

    private static void CopyPages(Tensor source, int from, Tensor target, int to, int count)
    {
        long page = source.Layout.Stride(0);
        target.CopyFrom(source, from * page, to * page, count * page);
    }

    /// <summary>Copies a page of another pool of the same parts.</summary>
    public void CopyPage(KvPagePool source, int from, int to)
    {
        for (int i = 0; i < _tensors.Length; i++)
            CopyPages(source._tensors[i], from, _tensors[i], to, 1);
    }

    private void Dispose(Tensor[] tensors)
    {
        _device.Synchronize();
        foreach (Tensor tensor in tensors)
            tensor.Dispose();
    }

    // What one tensor holds of a page.
    private readonly record struct Part(DataType Type, long[] Page)
    {
        public long Bytes => Page.Aggregate(1L, (product, length) => product * length) * Type.SizeInBytes();
    }
}
