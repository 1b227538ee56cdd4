using System.Numerics;
using System.Runtime.InteropServices;

namespace KernelEngine;

/// <summary>
/// LongHeads (Lu et al. 2024, arXiv:2402.10685): everything is kept, but a new token sees of each key/value head the first chunk, the last
/// complete one, the one that is not complete yet, and those whose representative has the highest product with its query, the highest
/// of the group's heads. What is seen stands at positions 0, 1, 2, …, so that they stay within those that a model was trained on.
/// Prompts see everything, where the paper chooses for them too.
/// </summary>
public sealed class LongHeads : KvPolicy
{
    private const int FewestChunks = 3; // the first, the last complete one, and the one that is not complete

    private readonly int _length, _chunks;

    /// <summary>Chooses chunks while tokens are generated.</summary>
    /// <param name="length">Tokens that a new token sees of each head: 4096 in the paper. A chunk has whole pages, at least one.</param>
    /// <param name="chunks">Chunks that these are: 16 there; at least 3.</param>
    public LongHeads(int length = 4096, int chunks = 16)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(chunks, FewestChunks);
        (_length, _chunks) = (length, chunks);
        Phases = KvPhases.None;
    }

    /// <inheritdoc/>
    public override string Name => "longheads";

    /// <inheritdoc/>
    public override KvPositions Positions => KvPositions.ReindexedOnRead;

    /// <inheritdoc/>
    public override int? MaxSeen(KvLayer layer) => Applies is null ? SeenChunks(layer) * ChunkSize(layer) : null;

    /// <inheritdoc/>
    public override void Begin(KvLayer layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        if (layer.Shape.HeadDim != layer.Shape.ValueHeadDim)
        {
            throw new NotSupportedException(
                "LongHeads asks keys with means of values: both need the same size but have "
                + $"{layer.Shape.HeadDim} and {layer.Shape.ValueHeadDim}.");
        }
    }

    /// <inheritdoc/>
    public override void Observe(KvStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        var chunks = (Chunks)(step.State ??= new Chunks(step, ChunkSize(step.Layer)));
        float[] query = step.NewQuery.ToArray<float>();
        if (step.NewQuery[1] == 1)
            See(step, chunks, query);
        chunks.Add(step, query);
    }

    /// <inheritdoc/>
    public override void Evict(KvStep step)
    {
    }

    // 256 of the paper's 4096 tokens.
    private int ChunkSize(KvLayer layer) => Math.Max(1, _length / _chunks / layer.PageSize) * layer.PageSize;

    // The one that is not complete among them.
    private int SeenChunks(KvLayer layer) => Math.Max(FewestChunks, _length / ChunkSize(layer));

    private void See(KvStep step, Chunks chunks, float[] query)
    {
        KvLayer layer = step.Layer;
        int size = ChunkSize(layer), pagesOfChunk = size / layer.PageSize, length = step.NumTokens + 1, complete = length / size;
        int chosen = SeenChunks(layer) - 1;
        if (complete <= chosen)
            return;
        int pages = (length + layer.PageSize - 1) / layer.PageSize;
        step.See([.. Enumerable.Range(0, layer.Cells.Count).Select(cell => step.AppliesTo(cell) ? PagesOf(cell) : null)]);

        int[] PagesOf(int cell)
        {
            IEnumerable<int> best = DynamicPatterns.Highest(
                Enumerable.Range(0, complete),
                chunk => chunk == 0 || chunk == complete - 1 ? double.PositiveInfinity : chunks.Score(chunk, cell, query), chosen);
            return [.. from chunk in best.Append(complete)
                       from page in Enumerable.Range(chunk * pagesOfChunk, pagesOfChunk)
                       where page < pages
                       select page];
        }
    }

    // The representatives of complete chunks, and the tokens of the one that is not complete.
    private sealed class Chunks : IKvPolicyState
    {
        private readonly int _size, _numHeads, _numKvHeads, _headDim;
        private readonly float[] _query, _key, _value; // [size, heads, headDim]
        private readonly List<float[]> _representatives = []; // [numHeads, headDim] each
        private int _first, _end; // of the tokens that are held: those before are in the cache alone since a truncation

        public Chunks(KvStep step, int size)
            : this(size, step.NumHeads, step.Layer.Shape.NumKvHeads, step.Layer.Shape.HeadDim)
        {
        }

        private Chunks(int size, int numHeads, int numKvHeads, int headDim)
        {
            (_size, _numHeads, _numKvHeads, _headDim) = (size, numHeads, numKvHeads, headDim);
            _query = new float[size * numHeads * headDim];
            (_key, _value) = (new float[size * numKvHeads * headDim], new float[size * numKvHeads * headDim]);
        }

        public long Bytes =>
            (_query.Length + _key.Length + _value.Length + (long)_representatives.Count * _numHeads * _headDim) * sizeof(float);

        public IKvPolicyState Copy()
        {
            var copy = new Chunks(_size, _numHeads, _numKvHeads, _headDim) { _first = _first, _end = _end };
            copy._representatives.AddRange(_representatives);
            _query.CopyTo(copy._query, 0);
            _key.CopyTo(copy._key, 0);
            _value.CopyTo(copy._value, 0);
            return copy;
        }

        // The tokens of a complete chunk are not held: one that is cut will be represented by those that come.
        public IKvPolicyState? Truncate(int position)
        {
            (int complete, int end) = Math.DivRem(position, _size);
            bool isCut = complete < _representatives.Count;
            _representatives.RemoveRange(complete, _representatives.Count - complete);
            (_first, _end) = (isCut ? end : Math.Min(_first, end), end);
            return this;
        }

        // The highest product of a group's queries with the representatives of a chunk.
        public double Score(int chunk, int kvHead, ReadOnlySpan<float> query)
        {
            int groupSize = _numHeads / _numKvHeads;
            double best = double.NegativeInfinity;
            for (int head = kvHead * groupSize; head < (kvHead + 1) * groupSize; head++)
            {
                int first = head * _headDim;
                best = Math.Max(best, Dot(query.Slice(first, _headDim), _representatives[chunk].AsSpan(first, _headDim)));
            }
            return best;
        }

        public void Add(KvStep step, float[] query)
        {
            float[] key = step.NewKey.ToArray<float>(), value = step.NewValue.ToArray<float>();
            int rows = (int)step.NewQuery[1], queryWidth = _numHeads * _headDim, keyWidth = _numKvHeads * _headDim;
            for (int row = 0; row < rows;)
            {
                int count = Math.Min(rows - row, _size - _end);
                query.AsSpan(row * queryWidth, count * queryWidth).CopyTo(_query.AsSpan(_end * queryWidth));
                key.AsSpan(row * keyWidth, count * keyWidth).CopyTo(_key.AsSpan(_end * keyWidth));
                value.AsSpan(row * keyWidth, count * keyWidth).CopyTo(_value.AsSpan(_end * keyWidth));
                (row, _end) = (row + count, _end + count);
                if (_end < _size)
                    continue;
                _representatives.Add(Represent(step));
                (_first, _end) = (0, 0);
            }
        }

        // As DynamicPatterns.ChunkRepresentatives, keys and queries turned to 0, 1, 2, ….
        private float[] Represent(KvStep step)
        {
            Device device = step.Layer.Device;
            int count = _size - _first, width = _numHeads * _headDim;
            using Tensor query = Rows(device, _query, _numHeads);
            using Tensor key = Rows(device, _key, _numKvHeads), value = Rows(device, _value, _numKvHeads);
            using Tensor output = Tensor.Allocate(device, DataType.Float32, 1, count, _numHeads, _headDim);
            if (step.Rotary.IsPresent)
            {
                foreach (Tensor rows in (ReadOnlySpan<Tensor>)[query, key])
                    Layers.Rotary(rows.View.Join(0), step.Rotary.Cos, step.Rotary.Sin, 0, step.Rotary.IsInterleaved);
            }
            var options = new AttentionOptions { SoftmaxScale = step.Options.SoftmaxScale };
            Attention.Forward(query, key, value, output, options);
            float[] outputs = output.ToArray<float>(), means = new float[width];
            for (int i = 0; i < outputs.Length; i++)
                means[i % width] += outputs[i] / count;
            using Tensor mean = Tensor.From<float>(device, means, 1, 1, _numHeads, _headDim);
            Attention.Decode(mean, key, key, output.Slice(1, 0, 1), options);
            return output.Slice(1, 0, 1).ToArray<float>();
        }

        private Tensor Rows(Device device, float[] rows, int heads) =>
            Tensor.From<float>(device, rows.AsSpan(_first * heads * _headDim), 1, _size - _first, heads, _headDim);

        private static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
        {
            ReadOnlySpan<Vector<float>> left = MemoryMarshal.Cast<float, Vector<float>>(a);
            ReadOnlySpan<Vector<float>> right = MemoryMarshal.Cast<float, Vector<float>>(b);
            Vector<float> sums = Vector<float>.Zero;
            for (int i = 0; i < left.Length; i++)
                sums += left[i] * right[i];
            float sum = Vector.Sum(sums);
            for (int i = left.Length * Vector<float>.Count; i < a.Length; i++)
                sum += a[i] * b[i];
            return sum;
        }
    }
}
