using System.Buffers.Binary;
using System.Collections.Immutable;

namespace KernelEngine.Models.Formats;

/// <summary>
/// Reads llama2.c checkpoints of version 0 (<c>stories260K.bin</c>): seven int32 sizes, then float32 tensors in a fixed
/// order, each kind for all layers together. The sizes decide the file's length to the byte, which is checked first.
/// </summary>
public sealed class LlamaCheckpointReader : IWeightSource, IDisposable
{
    /// <summary>Bytes of the header.</summary>
    public const int HeaderBytes = 28;

    private const float NormEpsilon = 1e-5f;
    private const uint LaterVersionMagic = 0x616B3432; // "ak42"

    private readonly ByteSource _source;
    private readonly Dictionary<WeightRole, (long Offset, long[] Shape)> _tensors = [];

    private LlamaCheckpointReader(ByteSource source)
    {
        _source = source;
        Description = Read();
    }

    /// <summary>Sizes and options; tokens 1 and 2 begin and end a sequence, as in llama2.c.</summary>
    public ModelDescription Description { get; }

    /// <summary>Opens a file and checks its header and length.</summary>
    /// <exception cref="ModelFormatException">The file breaks a rule of the format.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    public static LlamaCheckpointReader Open(string path) => Open(ByteSource.Open(path));

    /// <summary>Checks an open source, which the reader owns from here on.</summary>
    /// <exception cref="ModelFormatException">The source breaks a rule of the format.</exception>
    public static LlamaCheckpointReader Open(ByteSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        try
        {
            return new LlamaCheckpointReader(source);
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public StoredTensor? Find(WeightRole role, int layer)
    {
        if (!_tensors.TryGetValue(role, out (long Offset, long[] Shape) tensor))
            return null;
        bool isPerLayer = role is not (WeightRole.Embedding or WeightRole.FinalNorm or WeightRole.Head);
        if (isPerLayer && (layer < 0 || layer >= Description.Layers.Length))
            throw new ArgumentOutOfRangeException(nameof(layer), layer, $"The model has {Description.Layers.Length} layers.");
        long bytes = sizeof(float);
        foreach (long length in tensor.Shape)
            bytes *= length;
        string name = isPerLayer ? $"{role} of layer {layer}" : role.ToString();
        return new StoredTensor(
            _source, name, "F32", DataType.Float32, tensor.Shape, tensor.Offset + (isPerLayer ? layer * bytes : 0), bytes);
    }

    /// <summary>Closes the file. Safe to call twice.</summary>
    public void Dispose() => _source.Dispose();

    private ModelDescription Read()
    {
        if (_source.Length < HeaderBytes)
            throw Refuse($"The file must have at least {HeaderBytes} bytes but has {_source.Length}.");
        Span<byte> bytes = stackalloc byte[HeaderBytes];
        _source.Read(0, bytes);
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes) == LaterVersionMagic)
            throw Refuse("The file is a llama2.c checkpoint of version 1 or 2; version 0 can be read (export with --version 0).");
        int hiddenSize = ReadSize(bytes, 0, "dim", ModelDescription.MaxHiddenSize);
        int feedForwardSize = ReadSize(bytes, 1, "hidden_dim", ModelDescription.MaxFeedForwardSize);
        int numLayers = ReadSize(bytes, 2, "n_layers", ModelDescription.MaxLayers);
        int numHeads = ReadSize(bytes, 3, "n_heads", ModelDescription.MaxHiddenSize);
        int numKvHeads = ReadSize(bytes, 4, "n_kv_heads", ModelDescription.MaxHiddenSize);
        bool isTied = BinaryPrimitives.ReadInt32LittleEndian(bytes[20..]) > 0; // a negative vocabulary announces a separate head
        int vocabSize = ReadSize(bytes, 5, "vocab_size", ModelDescription.MaxVocabSize, mayBeNegative: true);
        int maxPosition = ReadSize(bytes, 6, "seq_len", ModelDescription.MaxMaxPosition);
        if (hiddenSize % numHeads != 0)
            throw Refuse($"dim must be a multiple of n_heads but {hiddenSize} is no multiple of {numHeads}.");
        if (numHeads % numKvHeads != 0)
            throw Refuse($"n_heads must be a multiple of n_kv_heads but {numHeads} is no multiple of {numKvHeads}.");
        int headDim = hiddenSize / numHeads;
        if (headDim % 2 != 0)
            throw Refuse($"The head dimension dim / n_heads must be even but is {headDim}.");
        Locate(hiddenSize, feedForwardSize, numLayers, numKvHeads * headDim, vocabSize, (long)maxPosition * headDim, isTied);
        var layer = new LayerDescription
        {
            NumHeads = numHeads,
            NumKvHeads = numKvHeads,
            HeadDim = headDim,
            ValueHeadDim = headDim,
            FeedForwardSize = feedForwardSize,
            Rotary = new RotaryDescription { Dimensions = headDim, Pairing = RotaryPairing.Interleaved },
        };
        var description = new ModelDescription
        {
            VocabSize = vocabSize,
            HiddenSize = hiddenSize,
            MaxPosition = maxPosition,
            Layers = [.. Enumerable.Repeat(layer, numLayers)],
            HasTiedHead = isTied,
            NormEpsilon = NormEpsilon,
            BosTokenId = vocabSize > 1 ? 1 : null,
            EosTokenIds = vocabSize > 2 ? [1, 2] : [], // llama2.c ends a story with the token that begins the next one
        };
        return description.FindError() is { } error ? throw Refuse(error) : description;
    }

    private void Locate(
        long hiddenSize, long feedForwardSize, long numLayers, long kvSize, long vocabSize, long oldRotaryTable, bool isTied)
    {
        long count = 0; // every factor is bounded: the largest sum of products stays far below 2^63
        void Place(WeightRole role, long copies, params long[] shape)
        {
            _tensors.Add(role, (HeaderBytes + count * sizeof(float), shape));
            count += shape.Aggregate(copies, (product, length) => product * length);
        }

        Place(WeightRole.Embedding, 1, vocabSize, hiddenSize);
        Place(WeightRole.AttentionNorm, numLayers, hiddenSize);
        Place(WeightRole.Query, numLayers, hiddenSize, hiddenSize);
        Place(WeightRole.Key, numLayers, kvSize, hiddenSize);
        Place(WeightRole.Value, numLayers, kvSize, hiddenSize);
        Place(WeightRole.AttentionOutput, numLayers, hiddenSize, hiddenSize);
        Place(WeightRole.FeedForwardNorm, numLayers, hiddenSize);
        Place(WeightRole.Gate, numLayers, feedForwardSize, hiddenSize);
        Place(WeightRole.Down, numLayers, hiddenSize, feedForwardSize);
        Place(WeightRole.Up, numLayers, feedForwardSize, hiddenSize);
        Place(WeightRole.FinalNorm, 1, hiddenSize);
        count += oldRotaryTable;
        if (!isTied)
            Place(WeightRole.Head, 1, vocabSize, hiddenSize);
        long length = HeaderBytes + count * sizeof(float);
        if (length != _source.Length)
            throw Refuse($"The header's sizes make a file of {length} bytes but it has {_source.Length}.");
    }

    private int ReadSize(ReadOnlySpan<byte> header, int index, string name, int max, bool mayBeNegative = false)
    {
        int value = BinaryPrimitives.ReadInt32LittleEndian(header[(index * sizeof(int))..]);
        long size = mayBeNegative ? Math.Abs((long)value) : value;
        return size >= 1 && size <= max
            ? (int)size
            : throw Refuse($"{name} must be 1 to {max}{(mayBeNegative ? " (or the negative of it)" : "")} but is {value}.");
    }

    private ModelFormatException Refuse(string rule) => new(_source.Name, rule);
}
