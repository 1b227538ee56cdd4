using KernelEngine.Models.Conversion;

namespace KernelEngine.Models;

/// <summary>
/// Attention of one block that looks at the keys most like each query, by product-quantised codes (SPT, Gui et al. 2023,
/// arXiv:2312.10365). Keys are encoded once, when they come; the query heads of a group look at the same.
/// </summary>
internal sealed class SelectedAttention : IDisposable
{
    private const int Seed = 1;

    private readonly Device _device;
    private readonly LayerDescription _layer;
    private readonly int _keepCount, _subVectors, _words;
    private readonly Tensor _queryCodes;
    private readonly bool _isFitted;
    private Tensor? _keyCodes;
    private int _encoded;

    /// <summary>Takes memory for chunks of <paramref name="rows"/> tokens.</summary>
    /// <param name="device">Where the cache is.</param>
    /// <param name="layer">The block's sizes.</param>
    /// <param name="codebook">f32 [subVectors, 16, subVectorSize]; null to fit one.</param>
    /// <param name="keepCount">Keys to look at.</param>
    /// <param name="rows">Tokens of a chunk.</param>
    public SelectedAttention(Device device, LayerDescription layer, Tensor? codebook, int keepCount, int rows)
    {
        (_device, _layer, _keepCount, Codebook, _isFitted) = (device, layer, keepCount, codebook, codebook is null);
        _subVectors = (_isFitted ? layer with { SubVectorSize = CodebookFitting.SubVectorSize } : layer).SubVectors;
        _words = SparseAttention.WordsOf(_subVectors);
        _queryCodes = Tensor.Allocate(device, DataType.Int32, 1, layer.NumHeads, rows, _words);
    }

    /// <summary>f32 [subVectors, 16, subVectorSize]; null until one is fitted.</summary>
    public Tensor? Codebook { get; private set; }

    /// <summary>Bytes of the codes of keys.</summary>
    public long Bytes => (_keyCodes?.Layout.Count ?? 0) * sizeof(int);

    /// <summary>Forgets the tokens from <paramref name="position"/> on.</summary>
    public void Truncate(int position) => _encoded = Math.Min(_encoded, position);

    /// <summary>
    /// Attention of the last rows of a cache over the keys that are chosen for each; false when all of them are to be looked at: they are
    /// not more than are kept, or the codebook was just fitted to them.
    /// </summary>
    /// <param name="query">[1, rows, numHeads, headDim]</param>
    /// <param name="cache">The keys and values, the new ones included.</param>
    /// <param name="length">How many there are.</param>
    /// <param name="capacity">For how many the cache has memory.</param>
    /// <param name="output">[1, rows, numHeads, valueHeadDim], written</param>
    public bool TryAttend(TensorView query, LayerCache cache, int length, int capacity, TensorView output)
    {
        if (length <= _keepCount)
            return false;
        if (Codebook is null)
        {
            Codebook = Fit(query, cache.Keys(length));
            return false;
        }
        EncodeKeys(cache, length, capacity);
        TensorView queryCodes = _queryCodes.Slice(2, 0, query[1]);
        SparseAttention.Encode(query, Codebook, queryCodes);
        SparseAttention.ForwardSelected(
            query, cache.Keys(length), cache.Values(length), queryCodes, _keyCodes!.Slice(2, 0, length), output, _subVectors, _keepCount,
            SparseSelectOptions.Causal, isGrouped: true, softmaxScale: _layer.AttentionScale);
        return true;
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        if (_isFitted)
            Codebook?.Dispose();
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[_queryCodes, _keyCodes])
            tensor?.Dispose();
    }

    // Codes of the keys that have none yet.
    private void EncodeKeys(LayerCache cache, int length, int capacity)
    {
        if (_keyCodes is null || _keyCodes.Layout[2] != capacity)
        {
            _device.Synchronize();
            _keyCodes?.Dispose();
            _keyCodes = Tensor.Allocate(_device, DataType.Int32, 1, _layer.NumKvHeads, capacity, _words);
            _encoded = 0;
        }
        SparseAttention.Encode(
            cache.Keys(length).Slice(1, _encoded, length - _encoded), Codebook!, _keyCodes.Slice(2, _encoded, length - _encoded));
        _encoded = length;
    }

    private static Tensor Fit(TensorView query, TensorView key) => SparseAttention.InitializeCodebook(CodebookFitting.SubVectorSize, Seed, query, key);
}
