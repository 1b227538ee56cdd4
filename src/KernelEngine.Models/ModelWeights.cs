using System.Buffers;
using System.Runtime.InteropServices;
using KernelEngine.Models.Formats;

namespace KernelEngine.Models;

/// <summary>
/// A model's weights on one device. Matrices keep the type they are stored in unless another is asked for; norms,
/// codebooks and routers are f32.
/// The file is read in pieces, so that loading needs no memory beyond the weights themselves.
/// </summary>
public sealed class ModelWeights : IDisposable
{
    private const int PieceBytes = 1 << 20;

    private readonly List<Tensor> _owned;

    private ModelWeights(Loader loader)
    {
        _owned = loader.Tensors;
        Device = loader.Device;
        Embedding = loader.Matrix(0, WeightRole.Embedding);
        Head = loader.Description.HasTiedHead ? Embedding : loader.Matrix(0, WeightRole.Head);
        FinalNorm = loader.Description.HasFinalNorm ? loader.Singles(WeightRole.FinalNorm, 0) : null;
        Layers = [.. loader.Description.Layers.Select((layer, index) => loader.Layer(layer, index))];
    }

    /// <summary>Where they are.</summary>
    public Device Device { get; }

    /// <summary>[vocabSize, hiddenSize]</summary>
    public Tensor Embedding { get; }

    /// <summary>[vocabSize, hiddenSize]; the embedding itself when the head is tied.</summary>
    public Tensor Head { get; }

    /// <summary>f32 [hiddenSize], or null in a model without final norm.</summary>
    public Tensor? FinalNorm { get; }

    /// <summary>The blocks, first to last.</summary>
    public IReadOnlyList<LayerWeights> Layers { get; }

    /// <summary>Bytes of all tensors.</summary>
    public long Bytes => _owned.Sum(t => t.Layout.Count * t.Type.SizeInBytes());

    /// <summary>Reads every weight that the description asks for.</summary>
    /// <exception cref="ModelFormatException">
    /// A tensor is missing, has another shape or type, or (if asked for) is not finite.
    /// </exception>
    public static ModelWeights Load(
        Device device, ModelDescription description, IWeightSource source, WeightOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(source);
        if (description.FindError() is { } error)
            throw new ArgumentException(error, nameof(description));
        options ??= WeightOptions.Default;
        if (options.MatrixType is { } type && !type.IsFloat())
            throw new ArgumentException($"Matrices must be f32, f16 or bf16, not {type.ToText()}.", nameof(options));
        var loader = new Loader(device, description, source, options);
        try
        {
            loader.CheckAll();
            return new ModelWeights(loader);
        }
        catch
        {
            foreach (Tensor tensor in loader.Tensors)
                tensor.Dispose();
            throw;
        }
    }

    /// <summary>Gives the memory back. Safe to call twice.</summary>
    public void Dispose()
    {
        foreach (Tensor tensor in _owned)
            tensor.Dispose();
    }

    private sealed class Loader(Device device, ModelDescription description, IWeightSource source, WeightOptions options)
    {
        public Device Device => device;

        public ModelDescription Description => description;

        public List<Tensor> Tensors { get; } = [];

        // Every tensor is found and its shape compared before the first one takes memory.
        public void CheckAll()
        {
            Find(WeightRole.Embedding, 0);
            if (!description.HasTiedHead)
                Find(WeightRole.Head, 0);
            if (description.HasFinalNorm)
                Find(WeightRole.FinalNorm, 0);
            for (int i = 0; i < description.Layers.Length; i++)
            {
                LayerDescription layer = description.Layers[i];
                if (layer.HasNorms)
                    Find(WeightRole.AttentionNorm, i);
                if (layer.HasNorms && layer.FeedForwardSize > 0)
                    Find(WeightRole.FeedForwardNorm, i);
                for (WeightRole role = WeightRole.Query; role <= WeightRole.AttentionOutput; role++)
                    Find(role, i);
                for (WeightRole role = WeightRole.Gate; role <= WeightRole.Down && layer.FeedForwardSize > 0; role++)
                    Find(role, i);
                if (layer.SubVectorSize > 0)
                    Find(WeightRole.Codebook, i);
                for (WeightRole role = WeightRole.Router; role <= WeightRole.RouterBias && layer.FeedForwardBlocks > 0; role++)
                    Find(role, i);
            }
        }

        public LayerWeights Layer(LayerDescription layer, int index)
        {
            bool hasFeedForward = layer.FeedForwardSize > 0;
            return new LayerWeights
            {
                AttentionNorm = layer.HasNorms ? Singles(WeightRole.AttentionNorm, index) : null,
                QueryKeyValue = Matrix(index, WeightRole.Query, WeightRole.Key, WeightRole.Value),
                AttentionOutput = Matrix(index, WeightRole.AttentionOutput),
                FeedForwardNorm = hasFeedForward && layer.HasNorms ? Singles(WeightRole.FeedForwardNorm, index) : null,
                GateUp = hasFeedForward ? Matrix(index, WeightRole.Gate, WeightRole.Up) : null,
                Codebook = layer.SubVectorSize > 0 ? Singles(WeightRole.Codebook, index) : null,
                Router = layer.FeedForwardBlocks > 0 ? Singles(WeightRole.Router, index) : null,
                RouterBias = layer.FeedForwardBlocks > 0 ? Singles(WeightRole.RouterBias, index) : null,
                Down = hasFeedForward ? Matrix(index, WeightRole.Down) : null,
            };
        }

        public Tensor Singles(WeightRole role, int layer)
        {
            StoredTensor stored = Find(role, layer);
            Tensor tensor = Allocate(DataType.Float32, stored.Shape);
            Upload(stored, tensor, 0);
            return tensor;
        }

        // Matrices that multiply the same input lie one below the other, so that one product computes them: fewer passes of
        // work between threads. Where their stored types differ, all become f32.
        public Tensor Matrix(int layer, params ReadOnlySpan<WeightRole> roles)
        {
            StoredTensor first = Find(roles[0], layer);
            DataType type = options.MatrixType ?? first.Type!.Value;
            long rows = 0;
            foreach (WeightRole role in roles)
            {
                StoredTensor stored = Find(role, layer);
                rows += stored.Shape[0];
                if (options.MatrixType is null && stored.Type != type)
                    type = DataType.Float32;
            }
            Tensor tensor = Allocate(type, rows, first.Shape[1]);
            long at = 0;
            foreach (WeightRole role in roles)
            {
                StoredTensor stored = Find(role, layer);
                Upload(stored, tensor, at);
                at += stored.Shape[0] * stored.Shape[1];
            }
            return tensor;
        }

        private Tensor Allocate(DataType type, params ReadOnlySpan<long> shape)
        {
            Tensor tensor = Tensor.Allocate(device, type, shape);
            Tensors.Add(tensor);
            return tensor;
        }

        private StoredTensor Find(WeightRole role, int layer) => WeightFinder.Find(description, source, role, layer);

        // Copies a stored tensor, converted, into the elements of another from `start` on.
        private void Upload(StoredTensor stored, Tensor tensor, long start)
        {
            DataType type = tensor.Type, storedType = stored.Type!.Value;
            long count = TensorLayout.Contiguous(stored.Shape).Count;
            int piece = (int)Math.Min(count, PieceBytes / sizeof(float));
            byte[] read = ArrayPool<byte>.Shared.Rent(piece * storedType.SizeInBytes());
            byte[] converted = ArrayPool<byte>.Shared.Rent(piece * type.SizeInBytes());
            try
            {
                for (long first = 0; first < count; first += piece)
                {
                    int length = (int)Math.Min(piece, count - first);
                    Span<byte> from = read.AsSpan(0, length * storedType.SizeInBytes());
                    Span<byte> to = converted.AsSpan(0, length * type.SizeInBytes());
                    stored.Source.Read(stored.Offset + first * storedType.SizeInBytes(), from);
                    if (options.RequireFinite && ElementConversion.FindNotFinite(from, storedType) is >= 0 and var index)
                    {
                        throw new ModelFormatException(
                            stored.Source.Name, $"Tensor '{stored.Name}' is not finite at element {first + index}.");
                    }
                    ElementConversion.Convert(from, storedType, to, type);
                    Copy(tensor, to, start + first);
                }
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(read);
                ArrayPool<byte>.Shared.Return(converted);
            }
        }

        private static void Copy(Tensor tensor, ReadOnlySpan<byte> bytes, long first)
        {
            switch (tensor.Type)
            {
                case DataType.Float32:
                    tensor.CopyFrom(MemoryMarshal.Cast<byte, float>(bytes), first);
                    break;
                case DataType.Float16:
                    tensor.CopyFrom(MemoryMarshal.Cast<byte, Half>(bytes), first);
                    break;
                default:
                    tensor.CopyFrom(MemoryMarshal.Cast<byte, BFloat16>(bytes), first);
                    break;
            }
        }
    }
}
